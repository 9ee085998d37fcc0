//! Long computations stand back: what watches the line on the same PC goes before them.

use thread_priority::ThreadPriority;

use crate::EngineError;

/// Gives the calling thread and all that compute for it the lowest priority. Call it before anything computes.
///
/// Where the system does not allow it, that is said and the work goes on at the usual priority.
///
/// # Errors
/// When the threads that compute cannot be started.
pub(crate) fn stand_back() -> Result<(), EngineError> {
    lower();
    let pool = rayon::ThreadPoolBuilder::new().start_handler(|_| lower()).build_global();
    pool.map_err(|error| EngineError::FoundWrong(format!("the threads that compute cannot be started: {error}")))
}

fn lower() {
    if let Err(error) = ThreadPriority::Min.set_for_current() {
        tracing::warn!(
            "training cannot stand back behind other work: the system does not lower its priority ({error:?})"
        );
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    /// The niceness of a thread, the 19th field of its `stat` in proc(5).
    fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[test]
    fn all_that_computes_goes_behind_other_work() {
        let before = niceness();
        super::stand_back().unwrap();
        assert!(niceness() > before);
        let of_pool = rayon::broadcast(|_| niceness());
        assert!(!of_pool.is_empty() && of_pool.iter().all(|nice| *nice == niceness()), "{of_pool:?}");
    }
}
