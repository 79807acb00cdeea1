//! The windows of a delivery in which a race is decided, for the tests that stop a thread there.

/// A moment in the middle of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    /// A setter has locked an event with waiters, and has claimed nobody.
    Locked,
    /// A setter has claimed whom it releases, and has not unlocked the event.
    Claimed,
    /// A setter has unlocked the event, and has released nobody.
    Unlocked,
    /// A setter has released somebody, and has not woken him.
    Released,
    /// A setter has pinned a wait for all and holds no lock.
    Pinned,
    /// A waiter's time is over, and it has not given up yet.
    TimeOver,
    /// A waiter has given up, and its node is still queued.
    GivenUp,
    /// A waiter for any has queued some of its nodes.
    PartlyQueued,
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod registered {
    use std::cell::RefCell;

    use super::Window;

    type Hook = (Window, Box<dyn FnOnce()>);

    thread_local! {
        static HOOKS: RefCell<Vec<Hook>> = const { RefCell::new(Vec::new()) };
    }

    /// Runs `hook` when this thread reaches `window` next.
    pub(crate) fn at(window: Window, hook: impl FnOnce() + 'static) {
        HOOKS.with_borrow_mut(|hooks| hooks.push((window, Box::new(hook))));
    }

    pub(crate) fn reached(window: Window) {
        let hook = HOOKS.with_borrow_mut(|hooks| {
            let index = hooks.iter().position(|(at, _)| *at == window)?;
            Some(hooks.remove(index).1)
        });
        if let Some(hook) = hook {
            hook();
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
pub(crate) use registered::{at, reached};

/// Says that this thread has come to `window`; nothing listens outside of this crate's unit tests.
#[cfg(not(all(test, not(any(loom, shuttle)))))]
#[inline(always)]
pub(crate) fn reached(_window: Window) {}
