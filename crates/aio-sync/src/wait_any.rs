//! Waiting for whichever of several events is signaled first.
//!
//! The thread queues a node on every event and lets them compete for its wait block: the setter that
//! claims it ends the wait, and the others go on to their next waiter without having given anything away.

use std::time::{Duration, Instant};

use crate::hooks::{Window, reached};
use crate::raw_event::{Enqueued, EventRef};
use crate::sleeper::Sleeper;
use crate::wait_block::WaitBlock;
use crate::wait_handle::WaitHandle;
use crate::wait_list::{WaitNode, Waiter};
use crate::wait_options::WaitOptions;

/// Up to this many events a wait takes one kind of frame.
const FEW: usize = 8;
/// Up to this many, Win32's limit, it takes a larger frame, and beyond an allocation.
const MANY: usize = 64;

/// Blocks until one of the events is signaled, takes its signal, and returns its index.
///
/// If several are signaled when the call is made, the one with the lowest index is taken; once it sleeps,
/// the one that is set first. The events are looked at one by one: of several that are set meanwhile, it
/// may be any. The others keep their signals. The same event may be named more than once, and is reported
/// under its lowest index.
///
/// There is no limit to the number of events; up to 64 nothing is allocated.
///
/// # Panics
///
/// Panics if `handles` is empty: nothing could end the wait.
///
/// # Examples
///
/// ```
/// use aio_sync::{AutoResetEvent, ManualResetEvent, wait_any};
///
/// let work = AutoResetEvent::new(true);
/// let quit = ManualResetEvent::new(true);
/// assert_eq!(wait_any(&[&work, &quit]), 0);
/// assert_eq!(wait_any(&[&work, &quit]), 1, "the first wait took the signal of `work`");
/// ```
#[track_caller]
pub fn wait_any(handles: &[&dyn WaitHandle]) -> usize {
    let index = with_events(handles, Some(&WaitOptions::new()));
    index.unwrap_or_else(|| unreachable!("a wait without a deadline ends with a signal"))
}

/// Blocks until one of the events is signaled, as [`wait_any`] does, or returns `None` when `timeout` has
/// passed; then no signal was taken.
///
/// A zero timeout never blocks, but takes a signal that is there. A timeout that the clock cannot represent
/// is for ever. A signal that races with the end of the time is either taken or stays with its event.
///
/// # Panics
///
/// Panics if `handles` is empty.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aio_sync::{AutoResetEvent, wait_any_timeout};
///
/// let (a, b) = (AutoResetEvent::new(false), AutoResetEvent::new(true));
/// assert_eq!(wait_any_timeout(&[&a, &b], Duration::ZERO), Some(1));
/// assert_eq!(wait_any_timeout(&[&a, &b], Duration::from_millis(1)), None);
/// ```
#[track_caller]
pub fn wait_any_timeout(handles: &[&dyn WaitHandle], timeout: Duration) -> Option<usize> {
    if timeout.is_zero() {
        with_events(handles, None)
    } else {
        with_events(handles, Some(&WaitOptions::new().timeout(timeout)))
    }
}

/// Blocks until one of the events is signaled, as [`wait_any`] does, or returns `None` when `deadline` has
/// come. A deadline in the past takes a signal that is there.
///
/// # Panics
///
/// Panics if `handles` is empty.
///
/// # Examples
///
/// ```
/// use std::time::Instant;
/// use aio_sync::{AutoResetEvent, wait_any_until};
///
/// let event = AutoResetEvent::new(false);
/// assert_eq!(wait_any_until(&[&event], Instant::now()), None);
/// ```
#[track_caller]
pub fn wait_any_until(handles: &[&dyn WaitHandle], deadline: Instant) -> Option<usize> {
    with_events(handles, Some(&WaitOptions::new().deadline(deadline)))
}

/// Blocks until one of the events is signaled, as [`wait_any`] does, or returns `None` when the options say
/// to give up.
///
/// # Panics
///
/// Panics if `handles` is empty.
///
/// # Examples
///
/// ```
/// use aio_sync::{AutoResetEvent, WaitOptions, wait_any_with};
///
/// let event = AutoResetEvent::new(true);
/// assert_eq!(wait_any_with(&[&event], &WaitOptions::new().spins(0)), Some(0));
/// ```
#[track_caller]
pub fn wait_any_with(handles: &[&dyn WaitHandle], options: &WaitOptions) -> Option<usize> {
    with_events(handles, Some(options))
}

/// Finds room for the events and waits; without options it only looks.
#[track_caller]
fn with_events(handles: &[&dyn WaitHandle], options: Option<&WaitOptions>) -> Option<usize> {
    assert!(!handles.is_empty(), "wait_any of no events: nothing could end the wait");
    if handles.len() <= FEW {
        in_frame::<FEW>(handles, options)
    } else if handles.len() <= MANY {
        in_frame::<MANY>(handles, options)
    } else {
        on_heap(handles, options)
    }
}

#[inline(never)]
fn in_frame<const N: usize>(
    handles: &[&dyn WaitHandle],
    options: Option<&WaitOptions>,
) -> Option<usize> {
    // The rest of the array repeats the first event and is not looked at.
    let mut events = [handles[0].event(); N];
    for (index, handle) in handles.iter().enumerate() {
        if index > 0 {
            events[index] = handle.event();
        }
        if events[index].try_wait() {
            return Some(lowest(&events, index));
        }
    }
    let options = options?;
    let (sleeper, block) = Sleeper::current();
    let nodes: [WaitNode; N] = std::array::from_fn(|index| place(&block, index));
    let length = handles.len();
    // SAFETY: block and nodes stay in this frame, and belong together.
    unsafe { queue_and_park(&events[..length], &nodes[..length], (&sleeper, &block), options) }
}

#[cold]
fn on_heap(handles: &[&dyn WaitHandle], options: Option<&WaitOptions>) -> Option<usize> {
    assert!(handles.len() < WaitBlock::MAX_EVENTS, "wait_any of four thousand million events");
    let events: Vec<_> = handles.iter().map(|handle| handle.event()).collect();
    if let Some(index) = events.iter().position(|event| event.try_wait()) {
        return Some(lowest(&events, index));
    }
    let options = options?;
    let (sleeper, block) = Sleeper::current();
    let nodes: Vec<_> = (0..events.len()).map(|index| place(&block, index)).collect();
    // SAFETY: the block stays in this frame and the nodes in their allocation; they belong together.
    unsafe { queue_and_park(&events, &nodes, (&sleeper, &block), options) }
}

fn place(block: &WaitBlock, index: usize) -> WaitNode {
    WaitNode::new(Waiter::Any {
        block,
        index: u32::try_from(index).expect("fewer than MAX_EVENTS"),
    })
}

/// # Safety
///
/// The nodes are the places of `block`, with their indices, one per event, and all are new. Nothing moves
/// before this function returns.
unsafe fn queue_and_park(
    events: &[EventRef<'_>],
    nodes: &[WaitNode],
    (sleeper, block): (&Sleeper, &WaitBlock),
    options: &WaitOptions,
) -> Option<usize> {
    let mut queued = 0;
    let mut winner = None;
    for (event, node) in events.iter().zip(nodes) {
        let index = u32::try_from(queued).expect("fewer than MAX_EVENTS");
        let rivals = (queued > 0).then_some((block, index));
        // SAFETY: the contract of this function.
        match unsafe { event.raw().enqueue(event.reset(), node, rivals) } {
            Enqueued::Queued => queued += 1,
            Enqueued::Signaled => {
                winner = Some(queued);
                break;
            }
            Enqueued::Decided => break,
        }
        reached(Window::PartlyQueued);
    }
    if winner.is_none() {
        let all_queued = queued == events.len();
        if all_queued && !sleeper.park(block, options.useful_spins(), options.moment()) {
            reached(Window::TimeOver);
        }
        // Unless the time is over now, one of the events queued on has claimed the wait.
        if !(all_queued && block.cancel()) {
            block.await_release();
            winner = Some(block.winner() as usize);
        }
    }
    for (event, node) in events.iter().zip(&nodes[..queued]) {
        // SAFETY: the node was queued on this event.
        unsafe { event.raw().unlink(node) };
    }
    winner.map(|index| lowest(events, index))
}

/// Returns the lowest index under which the event at `index` is named.
fn lowest(events: &[EventRef<'_>], index: usize) -> usize {
    let address = events[index].address();
    events[..index].iter().position(|event| event.address() == address).unwrap_or(index)
}
