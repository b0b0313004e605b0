//! The process: its settings, made before anything is allocated or opened, and its exit status.
//!
//! Invariant: a refusal of the system is ignored; the program runs without the setting.

use std::fmt;

use super::rows::columnar;

/// The end of a command whose outcome was printed, and is its exit status.
#[derive(Debug)]
pub(crate) struct ExitStatus(pub u8);

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit status {}", self.0)
    }
}

impl std::error::Error for ExitStatus {}

/// Sets the process up; to be called first, while it has one thread.
pub(crate) fn set_up() {
    raise_descriptor_limit();
    // A panic there means that a file is damaged, and the command reports that.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() != Some(columnar::THREAD) {
            report(panic);
        }
    }));
    // For speed alone, since the library computes in one thread anyway: without these candle counts
    // the processors anew at each product, from /proc/cpuinfo, and splits the product for all.
    // SAFETY: no other thread has been started, so nothing can read the environment meanwhile.
    unsafe {
        std::env::set_var("RAYON_NUM_THREADS", "1");
        std::env::set_var("CANDLE_NUM_THREADS", "1");
    }
}

/// Memory is taken in pages of 4 KiB: the allocator asks for pages of 2 MiB, each of which counts
/// whole, however few bytes of it a connection uses. It begins before `main`, so this does as well:
/// the loader calls the functions listed in this section, the lowest numbers first.
#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".init_array.00101")]
static DISABLE_HUGE_PAGES: extern "C" fn() = {
    extern "C" fn disable() {
        // SAFETY: it changes a flag of this process, and no memory.
        unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    }
    disable
};

/// A server may have as many files and connections open as it is allowed to ask for.
fn raise_descriptor_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both are given a pointer to a live value of the type that they take.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}
