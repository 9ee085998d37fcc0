//! Programs that are run to their end, and programs that run beside this one and end with it.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::outcome::{Doing, Outcome};

/// How long a program may take to end when it is asked to; then it is killed.
const END_TIME_MAX: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Runs a program to its end; its output is the user's to see.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let line = line(command);
    let status = command.status().could_not(format_args!("run `{line}`"))?;
    if status.success() { Ok(()) } else { Err(format!("`{line}` failed ({status})")) }
}

/// Runs a program to its end and returns what it printed; `None` when it is not installed or reports failure.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs to the end; what it prints on stdout.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .could_not(format_args!("run `{}`", line(command)))?;
    if !output.status.success() {
        return Err(format!("`{}` failed ({})", line(command), output.status));
    }
    String::from_utf8(output.stdout).could_not("read what it printed")
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A program that runs beside this one. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Running {
    name: String,
    child: Child,
}

impl Running {
    /// Starts the program.
    pub(crate) fn start(name: &str, command: &mut Command) -> Outcome<Self> {
        let child = command.spawn().could_not(format_args!("start {name} (`{}`)", line(command)))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// The program's process, for its pipes.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// How the program ended, or `None` while it runs.
    pub(crate) fn ended(&mut self) -> Outcome<Option<ExitStatus>> {
        self.child.try_wait().could_not(format_args!("ask after {}", self.name))
    }

    /// Waits until the program ends by itself.
    pub(crate) fn wait(&mut self) -> Outcome<ExitStatus> {
        self.child.wait().could_not(format_args!("wait for {}", self.name))
    }

    /// Asks the program to end, and kills it when it does not.
    pub(crate) fn end(&mut self) -> Outcome {
        if self.ended()?.is_some() {
            return Ok(());
        }
        // Asking politely takes a signal, which std does not send.
        if cfg!(unix) {
            let mut kill = Command::new("kill");
            kill.args(["-TERM", &self.child.id().to_string()]).stderr(Stdio::null());
            run(&mut kill)?;
            let deadline = Instant::now() + END_TIME_MAX;
            while Instant::now() < deadline {
                if self.ended()?.is_some() {
                    return Ok(());
                }
                std::thread::sleep(POLL_INTERVAL);
            }
            eprintln!("{} did not end within {END_TIME_MAX:?} and is killed", self.name);
        }
        self.child.kill().could_not(format_args!("kill {}", self.name))?;
        self.wait().map(|_status| ())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(problem) = self.end() {
            eprintln!("{problem}");
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(text: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        command
    }

    #[test]
    fn a_failing_program_is_named_with_its_arguments() {
        let problem = run(&mut shell("exit 3")).unwrap_err();
        assert!(problem.contains("sh -c exit 3") && problem.contains("exit status: 3"), "{problem}");
    }

    #[test]
    fn a_program_that_is_not_installed_answers_nothing() {
        assert_eq!(ask(&mut Command::new("no-such-program-anywhere")), None);
        assert_eq!(ask(&mut shell("echo no; exit 1")), None);
        assert_eq!(ask(&mut shell("echo yes")), Some("yes".to_owned()));
    }

    #[test]
    fn a_running_program_ends_when_it_is_dropped() {
        let mut running = Running::start("sleeper", &mut shell("exec sleep 600")).unwrap();
        assert!(running.ended().unwrap().is_none());
        let id = running.child().id().to_string();
        drop(running);
        assert!(ask(Command::new("kill").args(["-0", &id])).is_none(), "process {id} is still there");
    }
}
