//! Nothing is allocated by any wait that blocks or borrows, whatever it does.
#![cfg(not(any(loom, shuttle)))]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use aio_sync::{
    AutoResetEvent, ManualResetEvent, Registration, WaitHandle, wait_all, wait_all_timeout,
    wait_any, wait_any_timeout,
};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the contract of this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the contract of this function.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Returns how many allocations this thread makes in `work`.
fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn waits_and_sets_allocate_nothing() {
    let events: [_; 64] = std::array::from_fn(|_| AutoResetEvent::new(false));
    let handles = events.each_ref().map(|event| event as &dyn WaitHandle);
    let (manual, auto) = (ManualResetEvent::new(false), AutoResetEvent::new(false));
    let moment = Duration::from_micros(50);
    // How many processors there are is asked once per process.
    let _ = manual.wait_timeout(moment);

    let none = allocations(|| {
        manual.set();
        manual.wait_one();
        manual.reset();
        assert!(!manual.wait_timeout(moment) && !auto.wait_timeout(moment));
        for count in [1, 8, 9, 64] {
            assert_eq!(wait_any_timeout(&handles[..count], moment), None);
            assert!(!wait_all_timeout(&handles[..count], moment));
        }
        let mut context = Context::from_waker(Waker::noop());
        let mut wait = pin!(auto.wait());
        assert!(wait.as_mut().poll(&mut context).is_pending());
        auto.set();
        assert!(wait.as_mut().poll(&mut context).is_ready());
        let mut registration = pin!(Registration::new(&auto));
        assert!(registration.as_mut().register(Waker::noop().clone()));
        assert!(!registration.as_mut().take_back());
        assert!(!auto.signal_and_wait_timeout(&manual, moment));
    });
    assert_eq!(none, 0);
}

#[test]
fn threads_that_sleep_and_are_woken_allocate_nothing() {
    let events: [_; 8] = std::array::from_fn(|_| AutoResetEvent::new(false));
    let done = AutoResetEvent::new(false);
    let _ = done.wait_timeout(Duration::from_micros(50));
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let handles = events.each_ref().map(|event| event as &dyn WaitHandle);
            allocations(|| {
                for _ in 0..100 {
                    events[0].wait_one();
                    done.set();
                    assert_eq!(wait_any(&handles), 5);
                    done.set();
                    wait_all(&handles);
                    done.set();
                }
            })
        });
        let setter = allocations(|| {
            for _ in 0..100 {
                events[0].set();
                done.wait_one();
                events[5].set();
                done.wait_one();
                events.iter().for_each(|event| {
                    event.set();
                });
                done.wait_one();
            }
        });
        assert_eq!((setter, waiter.join().unwrap()), (0, 0));
    });
}
