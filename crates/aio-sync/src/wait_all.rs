//! Waiting for several events at once, all or nothing: see `watch` for how.

use std::time::{Duration, Instant};

use crate::raw_event::EventRef;
use crate::wait_handle::WaitHandle;
use crate::wait_options::WaitOptions;
use crate::watch;

/// Up to this many events a wait takes one kind of frame.
const FEW: usize = 8;
/// Up to this many, Win32's limit, it takes a larger frame, and beyond an allocation.
const MANY: usize = 64;

/// Blocks until all events are signaled at once, and takes all their signals in that moment.
///
/// All or nothing: until every event is signaled at the same time, the wait takes no signal, and other
/// waits may take them. No other operation on any of the events comes between.
///
/// There is no limit to the number of events; up to 64 nothing is allocated.
///
/// # Panics
///
/// Panics if `handles` is empty, or names an event twice: one signal cannot be taken twice.
///
/// # Examples
///
/// ```
/// use aio_sync::{AutoResetEvent, ManualResetEvent, wait_all};
///
/// let ready = ManualResetEvent::new(true);
/// let work = AutoResetEvent::new(true);
/// wait_all(&[&ready, &work]);
/// assert!(ready.is_set() && !work.is_set());
/// ```
#[track_caller]
pub fn wait_all(handles: &[&dyn WaitHandle]) {
    with_events(handles, Some(&WaitOptions::new()));
}

/// Blocks until all events are signaled at once, as [`wait_all`] does, or returns false when `timeout` has
/// passed; then no signal was taken.
///
/// A zero timeout never blocks. A timeout that the clock cannot represent is for ever.
///
/// # Panics
///
/// Panics if `handles` is empty, or names an event twice.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use aio_sync::{AutoResetEvent, wait_all_timeout};
///
/// let (a, b) = (AutoResetEvent::new(true), AutoResetEvent::new(false));
/// assert!(!wait_all_timeout(&[&a, &b], Duration::from_millis(1)));
/// assert!(a.is_set(), "a wait that is not satisfied takes nothing");
/// ```
#[track_caller]
#[must_use = "false means that the signals were not taken"]
pub fn wait_all_timeout(handles: &[&dyn WaitHandle], timeout: Duration) -> bool {
    if timeout.is_zero() {
        with_events(handles, None)
    } else {
        with_events(handles, Some(&WaitOptions::new().timeout(timeout)))
    }
}

/// Blocks until all events are signaled at once, as [`wait_all`] does, or returns false when `deadline` has
/// come.
///
/// # Panics
///
/// Panics if `handles` is empty, or names an event twice.
///
/// # Examples
///
/// ```
/// use std::time::Instant;
/// use aio_sync::{AutoResetEvent, wait_all_until};
///
/// let (a, b) = (AutoResetEvent::new(true), AutoResetEvent::new(true));
/// assert!(wait_all_until(&[&a, &b], Instant::now()));
/// ```
#[track_caller]
#[must_use = "false means that the signals were not taken"]
pub fn wait_all_until(handles: &[&dyn WaitHandle], deadline: Instant) -> bool {
    with_events(handles, Some(&WaitOptions::new().deadline(deadline)))
}

/// Blocks until all events are signaled at once, as [`wait_all`] does, or returns false when the options
/// say to give up.
///
/// # Panics
///
/// Panics if `handles` is empty, or names an event twice.
///
/// # Examples
///
/// ```
/// use aio_sync::{AutoResetEvent, WaitOptions, wait_all_with};
///
/// let (a, b) = (AutoResetEvent::new(true), AutoResetEvent::new(true));
/// assert!(wait_all_with(&[&a, &b], &WaitOptions::new().spins(0)));
/// ```
#[track_caller]
#[must_use = "false means that the signals were not taken"]
pub fn wait_all_with(handles: &[&dyn WaitHandle], options: &WaitOptions) -> bool {
    with_events(handles, Some(options))
}

/// Finds room for the events, puts them in order, and waits; without options it only looks.
#[track_caller]
fn with_events(handles: &[&dyn WaitHandle], options: Option<&WaitOptions>) -> bool {
    assert!(!handles.is_empty(), "wait_all of no events");
    if handles.len() <= FEW {
        in_frame::<FEW>(handles, options)
    } else if handles.len() <= MANY {
        in_frame::<MANY>(handles, options)
    } else {
        on_heap(handles, options)
    }
}

#[track_caller]
#[cold]
fn on_heap(handles: &[&dyn WaitHandle], options: Option<&WaitOptions>) -> bool {
    let mut events: Vec<_> = handles.iter().map(|handle| handle.event()).collect();
    in_order(&mut events, options)
}

#[track_caller]
#[inline(never)]
fn in_frame<const N: usize>(handles: &[&dyn WaitHandle], options: Option<&WaitOptions>) -> bool {
    // The rest of the array repeats the first event and is not looked at.
    let mut events = [handles[0].event(); N];
    for (event, handle) in events.iter_mut().zip(handles).skip(1) {
        *event = handle.event();
    }
    in_order(&mut events[..handles.len()], options)
}

#[track_caller]
fn in_order(events: &mut [EventRef<'_>], options: Option<&WaitOptions>) -> bool {
    events.sort_unstable_by_key(|event| event.address());
    assert!(
        events.windows(2).all(|pair| pair[0].address() != pair[1].address()),
        "wait_all names an event twice"
    );
    watch::wait_for(events, options)
}
