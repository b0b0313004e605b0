//! Ctrl-C in a long run: the results so far are printed, and the exit code is that of SIGINT.
//!
//! Invariant: the first ctrl-c lets a run end by itself, the second ends the program.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// The exit code of a program that SIGINT ended, as shells expect it.
pub(crate) const EXIT_CODE: u8 = 130;

/// A flag that ctrl-c sets; clones share it.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

/// The error of a run that ctrl-c ended after its results were printed.
#[derive(Debug)]
pub(crate) struct Interruption;

impl Interrupt {
    /// Listens from now on.
    pub(crate) fn listen() -> anyhow::Result<Interrupt> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start the runtime")?;
        let entered = runtime.enter();
        let mut interrupts = signal(SignalKind::interrupt()).context("listen for ctrl-c")?;
        drop(entered);
        let interrupt = Interrupt(Arc::new(AtomicBool::new(false)));
        let flag = interrupt.0.clone();
        std::thread::spawn(move || {
            runtime.block_on(async {
                interrupts.recv().await;
                flag.store(true, Relaxed);
                interrupts.recv().await;
                std::process::exit(EXIT_CODE.into());
            });
        });
        Ok(interrupt)
    }

    /// A flag that nothing sets.
    #[cfg(test)]
    pub(crate) fn unset() -> Interrupt {
        Interrupt(Arc::new(AtomicBool::new(false)))
    }

    /// True once ctrl-c was pressed.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// Ends a run whose result was printed.
    ///
    /// # Errors
    /// [`Interruption`] where ctrl-c was pressed.
    pub(crate) fn end(&self) -> anyhow::Result<()> {
        if self.is_set() {
            Err(Interruption.into())
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for Interruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped by ctrl-c: the results are of the rows until then")
    }
}

impl std::error::Error for Interruption {}
