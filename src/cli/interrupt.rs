//! Ctrl-C in a long run: what was reached is printed, and the exit code says that it was stopped.
//!
//! Invariant: the first one lets a run end by itself, the second one ends the program.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// The exit code of a program that SIGINT ended, as shells expect it.
pub const EXIT_CODE: u8 = 130;

/// Whether ctrl-c has come; a clone shares it.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

/// A run that printed what it had reached when ctrl-c came.
#[derive(Debug)]
pub struct Interrupted;

impl Interrupt {
    /// Listens from now on.
    pub fn listen() -> anyhow::Result<Interrupt> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start the runtime")?;
        let entered = runtime.enter();
        let mut interrupts = signal(SignalKind::interrupt()).context("listen for ctrl-c")?;
        drop(entered);
        let interrupt = Interrupt(Arc::new(AtomicBool::new(false)));
        let came = interrupt.0.clone();
        std::thread::spawn(move || {
            runtime.block_on(async {
                interrupts.recv().await;
                came.store(true, Relaxed);
                interrupts.recv().await;
                std::process::exit(EXIT_CODE.into());
            });
        });
        Ok(interrupt)
    }

    /// Whether it has come.
    pub fn came(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// Ends a run whose result was printed.
    ///
    /// # Errors
    /// [`Interrupted`] where ctrl-c has come.
    pub fn end(&self) -> anyhow::Result<()> {
        match self.came() {
            true => Err(Interrupted.into()),
            false => Ok(()),
        }
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped by ctrl-c: the result is of the rows until then")
    }
}

impl std::error::Error for Interrupted {}
