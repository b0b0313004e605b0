//! The device that a model computes on: the processor, or a GPU driven by candle.
//!
//! Invariant: predictions and learning have a stream each on a GPU, so neither waits for the
//! other, and no value of one is ever seen by the other. On the processor candle computes in one
//! thread of a pool of this library ([`compute`]), so the order of its sums depends neither on the
//! number of processors nor on the environment.

use std::sync::Mutex;

/// The device that a model computes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The processor, by the same steps as a GPU, so that tests can run those steps anywhere.
    Candle,
    /// An NVIDIA GPU, by its number.
    Cuda(usize),
}

/// A device that does not compute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// This build computes on no such device: it never will.
    #[error("device {0} is not in this build: take \"cpu\", or build with --features cuda")]
    NotBuilt(Device),
    /// The machine has no such device, or its driver refuses it.
    #[error("device {device} is not there: {why}")]
    Absent {
        /// The device asked for.
        device: Device,
        /// The refusal of the driver.
        why: String,
    },
    /// The device has no room: a smaller task may succeed, or the same later.
    #[error("the device cannot {task}: {why}")]
    NoRoom {
        /// The task that it was given, as a verb.
        task: &'static str,
        /// The error of candle.
        why: String,
    },
    /// Its driver or a library of it failed: it takes a repair.
    #[error("the device cannot {task}: {why}")]
    Failed {
        /// The task that it was given, as a verb.
        task: &'static str,
        /// The error of candle.
        why: String,
    },
    /// The tensors do not fit the operation, on any device.
    #[error("the device cannot {task}: {why}")]
    Unfit {
        /// The task that it was given, as a verb.
        task: &'static str,
        /// The error of candle.
        why: String,
    },
}

/// The cause of an error of candle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureCause {
    /// The memory of the device is taken, or the system has no thread to compute in.
    NoRoom,
    /// The driver of the device, or a library of it.
    Driver,
    /// The tensors: they do not fit the operation.
    Tensors,
}

impl FailureCause {
    /// Candle passes on the errors of a driver in a box whose types exist only where it is built
    /// with that driver, so they are distinguished here alone, by the driver's constants.
    pub(crate) fn of(error: &candle_core::Error) -> FailureCause {
        use candle_core::Error;
        let what = match error {
            Error::WithBacktrace { inner, .. }
            | Error::Context { inner, .. }
            | Error::WithPath { inner, .. } => return FailureCause::of(inner),
            Error::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<NoThread>()) => {
                return FailureCause::NoRoom;
            }
            Error::Cuda(by_driver) => by_driver.to_string(),
            Error::Wrapped(by_driver) => by_driver.to_string(),
            _ => return FailureCause::Tensors,
        };
        let names = |word: &&str| what.contains(word);
        if ["OUT_OF_MEMORY", "ALLOC_FAILED"].iter().any(names) {
            return FailureCause::NoRoom;
        }
        let by_driver = ["CUDA_ERROR_", "CUBLAS_STATUS_", "CURAND_STATUS_"];
        if by_driver.iter().any(names) {
            FailureCause::Driver
        } else {
            FailureCause::Tensors
        }
    }
}

impl Error {
    /// A failure of candle at this task.
    pub(crate) fn failed(task: &'static str) -> impl Fn(candle_core::Error) -> Error {
        move |error| {
            let why = in_a_line(&error);
            match FailureCause::of(&error) {
                FailureCause::NoRoom => Error::NoRoom { task, why },
                FailureCause::Driver => Error::Failed { task, why },
                FailureCause::Tensors => Error::Unfit { task, why },
            }
        }
    }
}

/// The purpose for which a device is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    Answers,
    Learning,
}

impl Device {
    /// `cpu`, `candle`, or `cuda:N`.
    pub fn parse(text: &str) -> Option<Device> {
        match (text, text.strip_prefix("cuda:")) {
            ("cpu", _) => Some(Device::Cpu),
            ("candle", _) => Some(Device::Candle),
            (_, Some(number)) => match number.parse() {
                Ok(number @ 0..64) => Some(Device::Cuda(number)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Checks that the device is there.
    ///
    /// # Errors
    /// [`Error::NotBuilt`] or [`Error::Absent`].
    pub fn check(self) -> Result<(), Error> {
        self.open(Use::Answers).map(drop)
    }

    /// Takes hold of it; errors as [`Device::check`].
    #[cfg_attr(
        not(feature = "cuda"),
        allow(unused_variables, reason = "only a GPU has streams")
    )]
    pub(crate) fn open(self, purpose: Use) -> Result<candle_core::Device, Error> {
        match self {
            Device::Cpu | Device::Candle => Ok(candle_core::Device::Cpu),
            #[cfg(feature = "cuda")]
            Device::Cuda(number) => opened(number, purpose).map_err(|error| Error::Absent {
                device: self,
                why: in_a_line(&error),
            }),
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => Err(Error::NotBuilt(self)),
        }
    }
}

/// The system gives no thread to compute in: the same may succeed later.
#[derive(Debug, thiserror::Error)]
#[error("no thread can be started to compute in: {0}")]
pub(crate) struct NoThread(rayon::ThreadPoolBuildError);

impl From<NoThread> for candle_core::Error {
    fn from(error: NoThread) -> candle_core::Error {
        candle_core::Error::Io(std::io::Error::other(error))
    }
}

/// Idle pools of one thread each; as many as were ever needed at a time.
struct IdlePools(Mutex<Vec<rayon::ThreadPool>>);

static IDLE_POOLS: IdlePools = IdlePools(Mutex::new(Vec::new()));

/// Computes with candle on this device: on the processor in one thread, where candle by itself
/// would spread each operation over as many threads as the process has; callers at the same time
/// have a thread each.
///
/// # Errors
/// Those of the computation; [`NoThread`], and then nothing was computed: the order of candle's
/// sums in the caller's thread would depend on the settings of the process.
pub(crate) fn compute<R: Send, E: Send + From<NoThread>>(
    device: &candle_core::Device,
    computation: impl FnOnce() -> Result<R, E> + Send,
) -> Result<R, E> {
    if device.is_cpu() {
        IDLE_POOLS.compute(rayon::ThreadPoolBuilder::build, computation)
    } else {
        computation()
    }
}

impl IdlePools {
    fn compute<R: Send, E: Send + From<NoThread>>(
        &self,
        start: fn(
            rayon::ThreadPoolBuilder,
        ) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError>,
        computation: impl FnOnce() -> Result<R, E> + Send,
    ) -> Result<R, E> {
        let idle = || self.0.lock().expect("nothing panics under it");
        let pool = idle().pop();
        let one = rayon::ThreadPoolBuilder::new().num_threads(1);
        let pool = pool.map_or_else(|| start(one).map_err(NoThread), Ok)?;
        let result = pool.install(computation);
        idle().push(pool);
        result
    }
}

/// The message of an error of candle in one line, without the backtrace that it may carry.
pub(crate) fn in_a_line(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => in_a_line(inner),
        other => other.to_string().replace('\n', " "),
    }
}

/// A GPU is taken hold of once for each use. A hold has one stream, whatever thread computes:
/// candle's default is one for each thread, and one thread would read unfinished work of another
/// too early.
#[cfg(feature = "cuda")]
fn opened(number: usize, purpose: Use) -> candle_core::Result<candle_core::Device> {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    type Holds = BTreeMap<(usize, Use), candle_core::Device>;
    static OPENED: Mutex<Holds> = Mutex::new(BTreeMap::new());
    let mut all = OPENED.lock().expect("nothing panics under it");
    if let Some(device) = all.get(&(number, purpose)) {
        return Ok(device.clone());
    }
    let device = candle_core::Device::new_cuda_with_stream(number)?;
    if let candle_core::Device::Cuda(cuda) = &device {
        // SAFETY: the tensors of a hold are used on its own stream alone, in the order of that stream;
        // candle refuses to mix tensors of two holds.
        unsafe { cuda.disable_event_tracking() };
    }
    all.insert((number, purpose), device.clone());
    Ok(device)
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Candle => f.write_str("candle"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// The numeric profile: within one, the same journal gives the same bits. It names the architecture
/// and the level of the processor; from the second revision of the learning rules on, the revision;
/// and the device of a model that computes on one: a GPU by its model, whichever its number, and by
/// the interface of its driver.
pub fn profile(device: Device, revision: u32) -> String {
    #[cfg(target_arch = "x86_64")]
    let level = if is_x86_feature_detected!("avx512f") {
        "avx512f"
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        "avx2+fma"
    } else {
        "sse2"
    };
    #[cfg(not(target_arch = "x86_64"))]
    let level = "portable";
    let rules = match revision {
        1 => String::new(),
        revision => format!(", rules {revision}"),
    };
    let processor = format!("cpu {} {level} f32{rules}", std::env::consts::ARCH);
    match device {
        Device::Cpu => processor,
        Device::Candle => format!("{processor}, {device}"),
        Device::Cuda(_) => format!("{processor}, {}", gpu(device)),
    }
}

/// The model of a GPU and the interface of its driver; the device's own name where it is absent.
fn gpu(device: Device) -> String {
    match device.open(Use::Answers) {
        #[cfg(feature = "cuda")]
        Ok(candle_core::Device::Cuda(cuda)) => {
            let name = cuda.cuda_stream().context().name();
            let name = name.unwrap_or_else(|error| error.to_string());
            format!(
                "{name} cuda {}",
                candle_core::cuda_backend::cudarc::driver::sys::CUDA_VERSION
            )
        }
        _ => device.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_shown_without_its_backtrace() {
        let error = candle_core::Error::WithBacktrace {
            inner: Box::new(candle_core::Error::Msg("no\nroom".to_owned())),
            backtrace: Box::new(std::backtrace::Backtrace::force_capture()),
        };
        assert_eq!(in_a_line(&error), "no room");
    }

    #[test]
    fn p9_an_error_is_of_the_driver_or_of_the_tensors() {
        let check = |what: &str, expected: FailureCause| {
            let error = candle_core::Error::Cuda(what.into());
            assert_eq!(
                FailureCause::of(&error.context("a node")),
                expected,
                "{what}"
            );
        };
        let full = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
        check(full, FailureCause::NoRoom);
        check("CUBLAS_STATUS_ALLOC_FAILED", FailureCause::NoRoom);
        let lost = "DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal address\")";
        check(lost, FailureCause::Driver);
        check("missing kernel 'sum'", FailureCause::Tensors);
        let of_tensors = candle_core::Error::Msg(full.to_owned());
        assert_eq!(FailureCause::of(&of_tensors), FailureCause::Tensors);
        let failed = Error::failed("answer")(candle_core::Error::Cuda(lost.into()));
        assert!(matches!(failed, Error::Failed { task: "answer", .. }));
    }

    #[test]
    fn without_a_thread_of_its_own_nothing_is_computed() {
        let idle = IdlePools(Mutex::new(Vec::new()));
        let refused = |one: rayon::ThreadPoolBuilder| {
            let again = || std::io::Error::from_raw_os_error(libc::EAGAIN);
            one.spawn_handler(|_| Err(again())).build()
        };
        let computed = idle.compute(refused, || -> candle_core::Result<()> {
            panic!("it computes in the thread of the caller")
        });
        let failed = Error::failed("answer")(computed.unwrap_err());
        let Error::NoRoom { why, .. } = failed else {
            panic!("a thread may be there later: {failed}")
        };
        assert!(why.starts_with("no thread can be started"), "{why}");

        // Where a pool is idle none is started.
        let threads = || Ok::<_, candle_core::Error>(rayon::current_num_threads());
        let start = rayon::ThreadPoolBuilder::build;
        assert_eq!(idle.compute(start, threads).unwrap(), 1);
        assert_eq!(idle.compute(refused, threads).unwrap(), 1);
    }

    #[test]
    fn a_device_is_named_as_it_is_written() {
        let devices = [Device::Cpu, Device::Candle, Device::Cuda(7)];
        for (text, device) in ["cpu", "candle", "cuda:7"].into_iter().zip(devices) {
            assert_eq!(Device::parse(text), Some(device));
            assert_eq!(device.to_string(), text);
        }
        for text in ["", "cuda", "cuda:", "cuda:64", "cuda:-1", "gpu", "CPU"] {
            assert_eq!(Device::parse(text), None, "{text}");
        }
    }
}
