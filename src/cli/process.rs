//! What this process asks of the system before it does anything else.
//!
//! Invariant: where the system refuses, the program runs as it would have.

/// Sets the process up; to be called first, while it has one thread.
pub fn set_up() {
    raise_descriptor_limit();
    // One row is small work, and a fixed number of threads keeps the order of every sum fixed.
    // SAFETY: no other thread has been started, so nothing can read the environment meanwhile.
    unsafe {
        std::env::set_var("RAYON_NUM_THREADS", "1");
        std::env::set_var("CANDLE_NUM_THREADS", "1");
    }
}

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
