//! The threads of a pool, which are those of a rayon pool.

use crate::pool::worker;
use crate::pool::worker_pool::Hooks;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// The threads of a pool.
#[derive(Debug)]
pub(crate) struct Threads {
    /// Its threads run our loops. When the loops have ended and this is dropped, the threads end.
    rayon: Option<Arc<ThreadPool>>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts the workers of `hooks`'s pool.
    pub(crate) fn start<H: Hooks>(
        hooks: &Arc<H>,
        name: &str,
        stack_size: Option<usize>,
    ) -> io::Result<Self> {
        let mut handles = Vec::with_capacity(hooks.pool().workers());
        let of_panics = hooks.clone();
        let built = ThreadPoolBuilder::new()
            .num_threads(hooks.pool().workers())
            .panic_handler(move |payload| of_panics.job_panicked(payload))
            .spawn_handler(|thread| {
                let mut builder = thread::Builder::new().name(format!("{name}-{}", thread.index()));
                if let Some(size) = stack_size {
                    builder = builder.stack_size(size);
                }
                handles.push(builder.spawn(|| thread.run())?);
                Ok(())
            })
            .build();
        match built {
            Ok(rayon) => {
                let (hooks, rayon) = (hooks.clone(), Arc::new(rayon));
                let threads = rayon.clone();
                rayon.spawn_broadcast(move |context| {
                    worker::run(&*hooks, context.index(), Some(threads.clone()));
                });
                Ok(Self { rayon: Some(rayon), handles })
            }
            Err(error) => {
                // rayon has told the threads that were made to end.
                for handle in handles {
                    let _ = handle.join();
                }
                Err(io::Error::other(format!("cannot start the worker threads: {error}")))
            }
        }
    }

    /// Waits until the threads have ended.
    pub(crate) fn join(&mut self) {
        self.rayon = None;
        for handle in self.handles.drain(..) {
            // A worker does not panic; if it did, it has ended all the same.
            let _ = handle.join();
        }
    }
}
