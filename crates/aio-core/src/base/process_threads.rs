//! The threads of the process. They do what may take long and what belongs to no worker: they look host names
//! up, close descriptors that linger, and deliver what completes after its runtime has ended.
//!
//! The process has one set of threads for all of this. A thread is started when there is a job and no thread is
//! free, and leaves when it has had nothing to do for some seconds. No shutdown waits for these threads: a job
//! may take as long as the system, or a callback, likes.
//!
//! Jobs of one kind wait in a *lane*. Each lane has its own bounds ([`Bounds`]), and any thread serves any lane,
//! so one lane never waits for another:
//!
//! | lane | side by side | a job no longer counts | at most |
//! |---|---|---|---|
//! | look up | 4 | when nobody wants its answer any more, or after a second | 68 |
//! | close | 64 | never | 64 |
//! | deliver | 1 | after a millisecond | 64 |
//!
//! *Side by side* is how many jobs that count are run at the same time. A job that no longer counts is still
//! being run, but it gives up its place, and the next job in the lane gets another thread. So what blocks
//! does not hold up what is behind it until *at most* so many jobs are being run. Deliveries run one after
//! the other, in the order in which they were pushed, unless one of them takes longer than a millisecond.
//!
//! 1. Everything here changes under one lock. No job runs, and no job is dropped, under it (I8).
//! 2. A thread is *free* from the moment when it is about to be started, except while it runs a job. A free
//!    thread looks at all lanes before it waits, after it has waited, and before it leaves.
//! 3. [`State::demand`] says how many free threads are needed: one for each job that may be taken now, and
//!    one that *watches*, if a job waits behind others that will stop to count. Whoever raises the demand
//!    (a push, a taken job, a job that no longer counts) wakes a free thread if there are enough of them, or
//!    starts one. A thread leaves only if the demand is met without it. So for each job a thread comes.
//! 4. The exception to 3 is that a thread cannot be started. The jobs then stay in their lanes. Each push
//!    tries again, and each thread that has finished a job looks at all lanes. Lookups alone must not
//!    wait for that: if no thread is free and none is looking up a name that counts, they fail with
//!    the error.
//! 5. A job is run once, or it fails once: it leaves its lane under the lock.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// What a process thread does.
pub(crate) trait Job: Send {
    /// Does it, on a process thread. Does not panic.
    fn run(self: Box<Self>, ticket: Ticket);

    /// No thread can be started for it. Called on the thread that pushed some job, and only for a lookup.
    fn fail(self: Box<Self>, _error: &io::Error) {
        unreachable!("a job that cannot fail stays in its lane");
    }
}

/// The jobs of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lane {
    LookUp,
    Close,
    Deliver,
}

/// See the table at the head of the module.
#[derive(Clone, Copy)]
struct Bounds {
    side_by_side: usize,
    patience: Option<Duration>,
    at_most: usize,
}

const LANES: usize = 3;

const BOUNDS: [Bounds; LANES] = {
    let mut bounds = [Bounds { side_by_side: 64, patience: None, at_most: 64 }; LANES];
    bounds[Lane::LookUp as usize] =
        Bounds { side_by_side: 4, patience: Some(Duration::from_secs(1)), at_most: 68 };
    bounds[Lane::Deliver as usize] =
        Bounds { side_by_side: 1, patience: Some(Duration::from_millis(1)), at_most: 64 };
    bounds
};

pub(crate) struct ProcessThreads {
    state: Mutex<State>,
    /// Notified when a free thread is to look at the lanes.
    demanded: Condvar,
    /// Starts a thread that calls [`serve`](Self::serve).
    start: fn(&'static Self) -> io::Result<()>,
}

struct State {
    lines: [Line; LANES],
    /// The jobs that are being run.
    runs: Vec<Run>,
    /// Of the run that was begun last.
    number: u64,
    threads: usize,
    /// How many of the threads are free (invariant 2).
    free: usize,
    /// How many of these wait for a job that will stop to count.
    watching: usize,
    /// The lane that is looked at first.
    first: usize,
}

/// One lane.
struct Line {
    queue: VecDeque<Box<dyn Job>>,
    running: usize,
    /// How many of the running ones count.
    counted: usize,
}

struct Run {
    number: u64,
    lane: usize,
    since: Instant,
    counts: bool,
}

/// A job that is being run.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    threads: &'static ProcessThreads,
    number: u64,
}

impl Ticket {
    /// The job no longer counts: the next one in its lane gets another thread. Does nothing if the job is over.
    pub(crate) fn no_longer_counts(self) {
        let mut state = self.threads.state();
        if state.no_longer_counts(self.number) {
            self.threads.meet_demand(state);
        }
    }
}

/// The threads of this process.
pub(crate) static PROCESS_THREADS: ProcessThreads = ProcessThreads::new(|threads| {
    let thread = thread::Builder::new().name("aio-process".to_owned());
    thread.spawn(|| threads.serve()).map(drop)
});

impl ProcessThreads {
    const fn new(start: fn(&'static Self) -> io::Result<()>) -> Self {
        const EMPTY: Line = Line { queue: VecDeque::new(), running: 0, counted: 0 };
        let state = State {
            lines: [EMPTY; LANES],
            runs: Vec::new(),
            number: 0,
            threads: 0,
            free: 0,
            watching: 0,
            first: 0,
        };
        Self { state: Mutex::new(state), demanded: Condvar::new(), start }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a thread run `job`. Waits for no job.
    pub(crate) fn push(&'static self, lane: Lane, job: Box<dyn Job>) {
        let mut state = self.state();
        state.lines[lane as usize].queue.push_back(job);
        self.meet_demand(state);
    }

    /// Invariant 3. The demand may have grown by one.
    fn meet_demand(&'static self, mut state: MutexGuard<'_, State>) {
        if state.demand() <= state.free {
            // A thread that watches comes by itself for what it watches.
            if state.can_take() || state.watching == 0 && state.needs_watch() {
                self.demanded.notify_one();
            }
            return;
        }
        state.threads += 1;
        state.free += 1;
        drop(state);
        if let Err(error) = (self.start)(self) {
            let lookups = self.lacks_thread();
            lookups.into_iter().for_each(|lookup| lookup.fail(&error));
        }
    }

    /// A thread could not be started. Returns the lookups that are not to wait for another (invariant 4).
    fn lacks_thread(&self) -> VecDeque<Box<dyn Job>> {
        let mut state = self.state();
        state.threads -= 1;
        state.free -= 1;
        let is_free = state.free > 0;
        let line = &mut state.lines[Lane::LookUp as usize];
        if is_free || line.counted > 0 { VecDeque::new() } else { mem::take(&mut line.queue) }
    }

    /// The life of a thread, which has been counted as free.
    fn serve(&'static self) {
        let mut state = self.state();
        loop {
            let left = state.look_after_the_slow();
            if let Some((number, job)) = state.take() {
                state.free -= 1;
                self.meet_demand(state);
                job.run(Ticket { threads: self, number });
                state = self.state();
                state.finish(number);
                state.free += 1;
                continue;
            }
            let watches = left.filter(|_| state.needs_watch());
            state.watching += usize::from(watches.is_some());
            let waited = self.demanded.wait_timeout(state, watches.unwrap_or(IDLE));
            let timeout;
            (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state.watching -= usize::from(watches.is_some());
            if watches.is_none() && timeout.timed_out() && state.demand() < state.free {
                state.threads -= 1;
                state.free -= 1;
                return;
            }
        }
    }
}

impl State {
    /// How many free threads are needed (invariant 3).
    fn demand(&self) -> usize {
        let takeable = self.lines.iter().zip(&BOUNDS).map(|(line, bounds)| line.takeable(bounds));
        takeable.sum::<usize>() + usize::from(self.needs_watch())
    }

    fn can_take(&self) -> bool {
        self.lines.iter().zip(&BOUNDS).any(|(line, bounds)| line.takeable(bounds) > 0)
    }

    /// True if a job waits for others to stop to count.
    fn needs_watch(&self) -> bool {
        self.lines.iter().zip(&BOUNDS).any(|(line, bounds)| line.needs_watch(bounds))
    }

    /// Makes what has taken too long count no more where other jobs wait for that. Returns how long it is until
    /// there may be more to do here.
    fn look_after_the_slow(&mut self) -> Option<Duration> {
        if !self.needs_watch() {
            return None;
        }
        let now = Instant::now();
        let mut next: Option<Duration> = None;
        for run in self.runs.iter_mut().filter(|run| run.counts) {
            let (line, bounds) = (&mut self.lines[run.lane], &BOUNDS[run.lane]);
            let Some(patience) = bounds.patience.filter(|_| line.needs_watch(bounds)) else {
                continue;
            };
            let left = patience.saturating_sub(now.saturating_duration_since(run.since));
            if left.is_zero() {
                run.counts = false;
                line.counted -= 1;
            } else {
                next = Some(next.map_or(left, |next| next.min(left)));
            }
        }
        next
    }

    /// Takes the next job that may be run, and notes that it is being run. The lanes take turns.
    fn take(&mut self) -> Option<(u64, Box<dyn Job>)> {
        let mut lanes = (self.first..self.first + LANES).map(|lane| lane % LANES);
        let lane = lanes.find(|&lane| self.lines[lane].takeable(&BOUNDS[lane]) > 0)?;
        let line = &mut self.lines[lane];
        let job = line.queue.pop_front()?;
        line.running += 1;
        line.counted += 1;
        self.first = lane + 1;
        self.number += 1;
        let number = self.number;
        self.runs.push(Run { number, lane, since: Instant::now(), counts: true });
        Some((number, job))
    }

    /// A job has been run.
    fn finish(&mut self, number: u64) {
        self.no_longer_counts(number);
        if let Some(index) = self.runs.iter().position(|run| run.number == number) {
            let run = self.runs.swap_remove(index);
            self.lines[run.lane].running -= 1;
        }
    }

    /// Returns true if the job counted.
    fn no_longer_counts(&mut self, number: u64) -> bool {
        let Some(run) = self.runs.iter_mut().find(|run| run.number == number) else { return false };
        let counted = mem::replace(&mut run.counts, false);
        self.lines[run.lane].counted -= usize::from(counted);
        counted
    }
}

impl Line {
    /// How many jobs may be taken now.
    fn takeable(&self, bounds: &Bounds) -> usize {
        let places = (bounds.side_by_side - self.counted).min(bounds.at_most - self.running);
        self.queue.len().min(places)
    }

    /// True if a job waits here for others to stop to count.
    fn needs_watch(&self, bounds: &Bounds) -> bool {
        bounds.patience.is_some()
            && !self.queue.is_empty()
            && self.counted == bounds.side_by_side
            && self.running < bounds.at_most
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc::{self, Receiver, Sender};

    const LONG: Duration = Duration::from_secs(30);

    /// Threads that no other test has.
    fn threads() -> &'static ProcessThreads {
        Box::leak(Box::new(ProcessThreads::new(|threads| {
            thread::Builder::new().spawn(|| threads.serve()).map(drop)
        })))
    }

    /// Reports that it runs, and stays until it is let go.
    struct Stuck {
        began: Sender<Ticket>,
        let_go: Receiver<()>,
    }

    impl Job for Stuck {
        fn run(self: Box<Self>, ticket: Ticket) {
            self.began.send(ticket).unwrap();
            let _ = self.let_go.recv();
        }
    }

    /// Reports what becomes of it.
    struct Report(Sender<Result<(), String>>);

    impl Job for Report {
        fn run(self: Box<Self>, _ticket: Ticket) {
            self.0.send(Ok(())).unwrap();
        }

        fn fail(self: Box<Self>, error: &io::Error) {
            self.0.send(Err(error.to_string())).unwrap();
        }
    }

    /// Pushes a job that gets stuck. Returns what lets it go.
    fn push_stuck(
        threads: &'static ProcessThreads,
        lane: Lane,
        began: &Sender<Ticket>,
    ) -> Sender<()> {
        let (sender, let_go) = mpsc::channel();
        threads.push(lane, Box::new(Stuck { began: began.clone(), let_go }));
        sender
    }

    fn push_report(threads: &'static ProcessThreads, lane: Lane) -> Receiver<Result<(), String>> {
        let (sender, reported) = mpsc::channel();
        threads.push(lane, Box::new(Report(sender)));
        reported
    }

    #[test]
    fn no_lane_holds_up_another() {
        let threads = threads();
        let (began, begun) = mpsc::channel();
        let lanes = [Lane::LookUp, Lane::Close, Lane::Deliver];
        // More than there is room for in any.
        let mut stuck: Vec<Vec<_>> = lanes
            .into_iter()
            .map(|lane| (0..100).map(|_| push_stuck(threads, lane, &began)).collect())
            .collect();
        for _ in 0..64 + 64 + 4 {
            begun.recv_timeout(LONG).unwrap();
        }
        // One lane is let go: its jobs get through, whatever the others do.
        for (index, lane) in [(2, Lane::Deliver), (0, Lane::LookUp), (1, Lane::Close)] {
            stuck[index].clear();
            assert_eq!(push_report(threads, lane).recv_timeout(LONG), Ok(Ok(())), "{lane:?}");
        }
    }

    /// Those that are stuck are on no account all that there may be.
    #[test]
    fn a_job_that_no_longer_counts_gives_its_place_to_the_next() {
        let threads = threads();
        let (began, begun) = mpsc::channel();
        let mut stuck = Vec::new();
        for _ in 0..40 {
            stuck.push(push_stuck(threads, Lane::LookUp, &began));
            begun.recv_timeout(LONG).unwrap().no_longer_counts();
        }
        let state = threads.state();
        assert_eq!((state.lines[0].running, state.lines[0].counted), (40, 0));
        drop(state);
        assert_eq!(push_report(threads, Lane::LookUp).recv_timeout(LONG), Ok(Ok(())));
    }

    #[test]
    fn there_is_an_end_to_the_threads_that_are_stuck() {
        let threads = threads();
        let (began, begun) = mpsc::channel();
        let stuck: Vec<_> = (0..80).map(|_| push_stuck(threads, Lane::LookUp, &began)).collect();
        for _ in 0..68 {
            begun.recv_timeout(LONG).unwrap().no_longer_counts();
        }
        assert!(begun.try_recv().is_err());
        assert!(threads.state().threads <= 69);
        drop(stuck);
        for _ in 0..12 {
            begun.recv_timeout(LONG).unwrap();
        }
    }

    #[test]
    fn jobs_of_a_lane_begin_in_the_order_in_which_they_were_pushed() {
        struct Numbered(u32, Sender<u32>);
        impl Job for Numbered {
            fn run(self: Box<Self>, _ticket: Ticket) {
                self.1.send(self.0).unwrap();
            }
        }
        let threads = threads();
        // Nobody overtakes: there is one thread.
        let (began, begun) = mpsc::channel();
        let first = push_stuck(threads, Lane::Close, &began);
        begun.recv().unwrap();
        threads.state().lines[Lane::Close as usize].running = 64;
        let (report, reported) = mpsc::channel();
        for number in 0..100 {
            threads.push(Lane::Close, Box::new(Numbered(number, report.clone())));
        }
        drop((first, report));
        let numbers: Vec<_> = (0..100).map(|_| reported.recv_timeout(LONG).unwrap()).collect();
        assert!(numbers.is_sorted());
    }

    /// Invariant 4.
    #[test]
    fn what_waits_for_a_thread_that_cannot_be_started_is_not_lost() {
        static CAN_START: AtomicBool = AtomicBool::new(false);
        let threads: &'static ProcessThreads =
            Box::leak(Box::new(ProcessThreads::new(|threads| {
                if !CAN_START.load(Ordering::SeqCst) {
                    return Err(io::Error::other("on purpose"));
                }
                thread::Builder::new().spawn(|| threads.serve()).map(drop)
            })));
        let waiting: Vec<_> = (0..10)
            .flat_map(|_| [Lane::Close, Lane::Deliver])
            .map(|lane| push_report(threads, lane))
            .collect();
        for _ in 0..3 {
            let failed = push_report(threads, Lane::LookUp).recv_timeout(LONG).unwrap();
            assert_eq!(failed, Err("on purpose".to_owned()));
        }
        assert!(waiting.iter().all(|reported| reported.try_recv().is_err()));
        {
            let state = threads.state();
            assert_eq!((state.threads, state.free), (0, 0));
        }
        CAN_START.store(true, Ordering::SeqCst);
        assert_eq!(push_report(threads, Lane::Close).recv_timeout(LONG), Ok(Ok(())));
        for reported in waiting {
            assert_eq!(reported.recv_timeout(LONG), Ok(Ok(())));
        }
    }

    /// Invariant 4: two were queued, each relied on the other's thread too, and neither can be started.
    #[test]
    fn no_lookup_is_left_behind_when_threads_cannot_be_started() {
        let threads = threads();
        {
            let mut state = threads.state();
            (state.threads, state.free) = (2, 2);
            let queue = &mut state.lines[Lane::LookUp as usize].queue;
            queue.extend((0..2).map(|_| Box::new(Report(mpsc::channel().0)) as Box<dyn Job>));
        }
        assert!(threads.lacks_thread().is_empty(), "the other thread may still come");
        assert_eq!(threads.lacks_thread().len(), 2);
        assert!(threads.state().lines[Lane::LookUp as usize].queue.is_empty());
    }
}
