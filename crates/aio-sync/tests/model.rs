//! The specification, and random programs whose histories must fit it.
//!
//! ```sh
//! cargo test -p aio-sync --test model
//! RUSTFLAGS="--cfg shuttle" cargo test --release -p aio-sync --test model
//! ```
//!
//! `AIO_SYNC_PROGRAMS` sets the number of programs (10,000 under shuttle for a soak).
//!
//! Each call of a program is recorded with its answer and with the moments of its start and return. The
//! history is right if the steps of all calls can be put into one order that respects these moments and
//! in which [`Model`], one thread at a time, gives the same answers (it is *linearizable*).
#![cfg(not(loom))]

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use aio_sync::{AutoResetEvent, EventRef, ManualResetEvent, WaitHandle, WaitOptions};
use aio_sync::{wait_all_with, wait_any_with};

/// The state of all events and calls. A signal goes to waiters that can take it before anything else
/// happens; which of several takes it, the model leaves open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Model {
    /// Whether each event is signaled.
    set: Vec<bool>,
    /// For each call, on how many of its events it is queued.
    queued: Vec<usize>,
    /// For each call, whether it has its answer.
    finished: Vec<bool>,
}

impl Model {
    /// All states that one step of the call leads to, if its answer is the recorded one.
    fn step(&self, call: usize, history: &History) -> Vec<Self> {
        let Call { operation, answer, .. } = &history.calls[call];
        let queued = self.queued[call];
        match operation {
            Operation::Set(event) => {
                let mut next = self.finish(call);
                next.set[*event] = true;
                if self.set[*event] == answer.is_some() { next.settle(history) } else { vec![] }
            }
            Operation::Reset(event) | Operation::IsSet(event) | Operation::TryWait(event) => {
                let mut next = self.finish(call);
                next.set[*event] &= match operation {
                    Operation::Reset(_) => false,
                    Operation::IsSet(_) => true,
                    _ => history.manual[*event],
                };
                if self.set[*event] == answer.is_some() { vec![next] } else { vec![] }
            }
            // A wait for any looks at its events in their order; then it queues, one by one.
            Operation::Any(events) => {
                let signaled = |index: &usize| self.set[events[*index]];
                let looks_at = if queued == 0 { 0..events.len() } else { queued..queued + 1 };
                let mut next: Vec<_> = looks_at
                    .filter(|index| {
                        *index < events.len() && signaled(index) && Some(*index) == *answer
                    })
                    .map(|index| self.grant(call, &[events[index]], history))
                    .collect();
                if queued < events.len() && !signaled(&queued) {
                    next.push(self.enqueue(call));
                }
                if queued == events.len() && answer.is_none() {
                    next.push(self.finish(call));
                }
                next
            }
            Operation::All(events) => {
                let satisfied = events.iter().all(|event| self.set[*event]);
                match (queued, satisfied, answer) {
                    (0, true, Some(_)) => vec![self.grant(call, events, history)],
                    (0, false, _) => vec![self.enqueue(call)],
                    (1, _, None) => vec![self.finish(call)],
                    _ => vec![],
                }
            }
        }
    }

    /// Gives signals to queued calls until none can take any.
    fn settle(&self, history: &History) -> Vec<Self> {
        let mut next = vec![];
        let mut settled = true;
        for (call, Call { operation, answer, .. }) in history.calls.iter().enumerate() {
            let queued = self.queued[call];
            if queued == 0 || self.finished[call] {
                continue;
            }
            let (index, takes) = match operation {
                Operation::Any(events) => {
                    let Some(index) = (0..queued).find(|index| self.set[events[*index]]) else {
                        continue;
                    };
                    (index, &events[index..=index])
                }
                Operation::All(events) if events.iter().all(|event| self.set[*event]) => {
                    (0, &events[..])
                }
                _ => continue,
            };
            settled = false;
            if *answer == Some(index) {
                next.extend(self.grant(call, takes, history).settle(history));
            }
        }
        if settled { vec![self.clone()] } else { next }
    }

    fn grant(&self, call: usize, events: &[usize], history: &History) -> Self {
        let mut next = self.finish(call);
        events.iter().for_each(|event| next.set[*event] = history.manual[*event]);
        next
    }

    fn enqueue(&self, call: usize) -> Self {
        let mut next = self.clone();
        next.queued[call] += 1;
        next
    }

    fn finish(&self, call: usize) -> Self {
        let mut next = self.clone();
        next.finished[call] = true;
        next
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Set(usize),
    Reset(usize),
    IsSet(usize),
    TryWait(usize),
    Any(Vec<usize>),
    All(Vec<usize>),
}

/// A call that has returned. The answer of a question is `Some(0)` for true and `None` for false.
#[derive(Clone, Debug)]
struct Call {
    operation: Operation,
    answer: Option<usize>,
    started: usize,
    returned: usize,
}

#[derive(Debug)]
struct History {
    manual: Vec<bool>,
    initial: Vec<bool>,
    calls: Vec<Call>,
}

impl History {
    /// Searches an order of steps in which the model gives the recorded answers.
    fn fits(&self) -> bool {
        let start = Model {
            set: self.initial.clone(),
            queued: vec![0; self.calls.len()],
            finished: vec![false; self.calls.len()],
        };
        let mut seen = HashSet::from([start.clone()]);
        let mut to_do = vec![start];
        while let Some(model) = to_do.pop() {
            let open = || (0..self.calls.len()).filter(|call| !model.finished[*call]);
            // A call that has returned before another started has had its steps before.
            let Some(end) = open().map(|call| self.calls[call].returned).min() else { return true };
            for call in open().filter(|call| self.calls[*call].started < end) {
                let next = model.step(call, self);
                to_do.extend(next.into_iter().filter(|model| seen.insert(model.clone())));
            }
        }
        false
    }
}

#[derive(Debug)]
enum Event {
    Manual(ManualResetEvent),
    Auto(AutoResetEvent),
}

impl Event {
    fn new(manual: bool, initial: bool) -> Self {
        if manual {
            Self::Manual(ManualResetEvent::new(initial))
        } else {
            Self::Auto(AutoResetEvent::new(initial))
        }
    }

    fn set(&self) -> bool {
        match self {
            Self::Manual(event) => event.set(),
            Self::Auto(event) => event.set(),
        }
    }

    fn reset(&self) -> bool {
        match self {
            Self::Manual(event) => event.reset(),
            Self::Auto(event) => event.reset(),
        }
    }

    fn is_set(&self) -> bool {
        match self {
            Self::Manual(event) => event.is_set(),
            Self::Auto(event) => event.is_set(),
        }
    }
}

impl WaitHandle for Event {
    fn event(&self) -> EventRef<'_> {
        match self {
            Self::Manual(event) => event.event(),
            Self::Auto(event) => event.event(),
        }
    }
}

/// Calls `operation`; a wait gives up as `options` say.
fn call(operation: &Operation, events: &[Event], options: &WaitOptions) -> Option<usize> {
    let handles = |indices: &[usize]| -> Vec<_> {
        indices.iter().map(|index| &events[*index] as &dyn WaitHandle).collect()
    };
    match operation {
        Operation::Set(event) => events[*event].set().then_some(0),
        Operation::Reset(event) => events[*event].reset().then_some(0),
        Operation::IsSet(event) => events[*event].is_set().then_some(0),
        Operation::TryWait(event) => events[*event].event().try_wait().then_some(0),
        Operation::Any(indices) if indices.len() == 1 => {
            events[indices[0]].event().wait_with(options).then_some(0)
        }
        Operation::Any(indices) => wait_any_with(&handles(indices), options),
        Operation::All(indices) => wait_all_with(&handles(indices), options).then_some(0),
    }
}

/// What the threads of a program call, and its events.
#[derive(Debug)]
struct Program {
    manual: Vec<bool>,
    initial: Vec<bool>,
    threads: Vec<Vec<Operation>>,
}

impl Program {
    fn random(random: &mut impl FnMut(usize) -> usize) -> Self {
        let events = 1 + random(3);
        let several = |random: &mut dyn FnMut(usize) -> usize| {
            let mut indices: Vec<_> = (0..events).collect();
            for index in 0..events {
                indices.swap(index, random(events));
            }
            indices.truncate(1 + random(events));
            indices
        };
        let threads = 2 + random(3);
        let threads = (0..threads)
            .map(|_| {
                (0..2 + random(3))
                    .map(|_| match random(12) {
                        0..4 => Operation::Set(random(events)),
                        4 => Operation::Reset(random(events)),
                        5 => Operation::IsSet(random(events)),
                        6 => Operation::TryWait(random(events)),
                        7 => Operation::Any(vec![random(events)]),
                        8..10 => Operation::Any(several(random)),
                        _ => Operation::All(several(random)),
                    })
                    .collect()
            })
            .collect();
        Self {
            manual: (0..events).map(|_| random(3) == 0).collect(),
            initial: (0..events).map(|_| random(3) == 0).collect(),
            threads,
        }
    }

    /// Runs the program, each thread by `spawn`, and checks its history.
    fn run(
        self,
        spawn: impl Fn(Box<dyn FnOnce() + Send>) -> Box<dyn FnOnce()>,
        options: impl Fn() -> WaitOptions + Send + Sync + 'static,
    ) {
        let states = self.manual.iter().zip(&self.initial);
        let events: Arc<Vec<_>> = Arc::new(states.map(|(m, i)| Event::new(*m, *i)).collect());
        let clock = Arc::new(AtomicUsize::new(0));
        let calls = Arc::new(Mutex::new(vec![]));
        let options = Arc::new(options);
        let joins: Vec<_> = self
            .threads
            .into_iter()
            .map(|operations| {
                let (events, clock, calls) = (events.clone(), clock.clone(), calls.clone());
                let options = options.clone();
                spawn(Box::new(move || {
                    for operation in operations {
                        let options = options();
                        let started = clock.fetch_add(1, SeqCst);
                        let answer = call(&operation, &events, &options);
                        let returned = clock.fetch_add(1, SeqCst);
                        let call = Call { operation, answer, started, returned };
                        calls.lock().unwrap().push(call);
                    }
                }))
            })
            .collect();
        joins.into_iter().for_each(|join| join());
        let calls = std::mem::take(&mut *calls.lock().unwrap());
        let history = History { manual: self.manual, initial: self.initial, calls };
        assert!(history.fits(), "no order explains {history:#?}");
    }
}

#[cfg(not(shuttle))]
fn programs(default: usize) -> usize {
    let programs = std::env::var("AIO_SYNC_PROGRAMS");
    programs.map_or(default, |programs| programs.parse().expect("a number"))
}

#[cfg(not(shuttle))]
#[test]
fn histories_of_random_programs_on_threads_fit_the_model() {
    use std::time::Duration;

    let mut state = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1;
    let seed = state;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % below
    };
    for number in 0..programs(1_000) {
        let program = Program::random(&mut random);
        let timeout = Duration::from_micros(1 + random(100) as u64);
        let spins = 100 * random(2) as u32;
        let spawn = |body: Box<dyn FnOnce() + Send>| {
            let thread = std::thread::spawn(body);
            let join: Box<dyn FnOnce()> = Box::new(move || {
                thread.join().unwrap_or_else(|_| panic!("program {number} of seed {seed}"));
            });
            join
        };
        program.run(spawn, move || WaitOptions::new().spins(spins).timeout(timeout));
    }
}

/// A history that no order explains is found out, or the tests above prove nothing.
#[cfg(not(shuttle))]
#[test]
fn the_model_refuses_histories_that_break_a_promise() {
    let call = |operation: &Operation, answer, started, returned| Call {
        operation: operation.clone(),
        answer,
        started,
        returned,
    };
    let fits = |calls: &[Call]| {
        History { manual: vec![false, true], initial: vec![false; 2], calls: calls.to_vec() }.fits()
    };
    let (set_auto, try_auto) = (Operation::Set(0), Operation::TryWait(0));
    let (set_manual, try_manual) = (Operation::Set(1), Operation::TryWait(1));
    let both = Operation::All(vec![0, 1]);

    assert!(fits(&[call(&set_auto, None, 0, 1), call(&try_auto, Some(0), 2, 3)]));
    assert!(!fits(&[call(&set_auto, None, 0, 1), call(&try_auto, None, 2, 3)]), "lost");
    let doubled = [
        call(&set_auto, None, 0, 1),
        call(&try_auto, Some(0), 2, 3),
        call(&try_auto, Some(0), 4, 5),
    ];
    assert!(!fits(&doubled));
    let half_taken =
        [call(&set_auto, None, 0, 1), call(&both, None, 2, 3), call(&try_auto, None, 4, 5)];
    assert!(!fits(&half_taken));
    // Effects of a set that is not there yet.
    let early = [
        call(&set_auto, None, 0, 1),
        call(&both, Some(0), 2, 9),
        call(&set_manual, None, 3, 8),
        call(&try_auto, None, 4, 5),
        call(&try_manual, None, 6, 7),
    ];
    assert!(!fits(&early));
    // A timeout although the wait was there when both were set.
    let late = [
        call(&both, None, 0, 7),
        call(&set_auto, None, 1, 2),
        call(&set_manual, None, 3, 4),
        call(&try_auto, None, 5, 6),
    ];
    assert!(!fits(&late));
}

#[cfg(shuttle)]
mod shuttled {
    use super::*;

    use aio_sync::Expiry;
    use shuttle::rand::{Rng, thread_rng};

    /// A random program in a random interleaving; every wait has a deadline, which a thread makes come.
    fn run_random_program() {
        let program = Program::random(&mut |below| thread_rng().gen_range(0..below));
        let expiries = Arc::new(Mutex::new(vec![]));
        let done = Arc::new(shuttle::sync::atomic::AtomicBool::new(false));
        let clock = shuttle::thread::spawn({
            let (expiries, done) = (expiries.clone(), done.clone());
            move || loop {
                let ended = done.load(SeqCst);
                let due: Vec<Expiry> = std::mem::take(&mut *expiries.lock().unwrap());
                due.iter().for_each(Expiry::come);
                if ended {
                    break;
                }
                shuttle::thread::yield_now();
            }
        });
        let spawn = |body: Box<dyn FnOnce() + Send>| {
            let thread = shuttle::thread::spawn(body);
            let join: Box<dyn FnOnce()> = Box::new(move || thread.join().unwrap());
            join
        };
        program.run(spawn, move || {
            let expiry = Expiry::new();
            expiries.lock().unwrap().push(expiry.clone());
            WaitOptions::new().expiry(&expiry)
        });
        done.store(true, SeqCst);
        clock.join().unwrap();
    }

    fn programs() -> usize {
        let programs = std::env::var("AIO_SYNC_PROGRAMS");
        programs.map_or(20_000, |programs| programs.parse().expect("a number"))
    }

    #[test]
    fn histories_of_random_programs_in_random_interleavings_fit_the_model() {
        shuttle::check_random(run_random_program, programs());
    }

    #[test]
    fn histories_of_random_programs_with_few_preemptions_fit_the_model() {
        shuttle::check_pct(run_random_program, programs(), 4);
    }
}
