//! Environment variables, from the strings that execve laid on the stack.

use super::{Linux, MOST_ARGUMENTS};
use crate::facts::{ReadError, Scope, Sink, Variable};

pub fn environment(linux: &Linux, scope: Scope, out: &mut Sink<Variable>) {
    for task in linux.tasks(scope, out.watch()) {
        if out.cancelled() {
            return;
        }
        let strings = || -> Result<Option<Vec<u8>>, ReadError> {
            let Some(mm) = task.object.follow("mm")? else { return Ok(None) };
            linux.user_bytes(&task.object, mm.uint("env_start")?, mm.uint("env_end")?, MOST_ARGUMENTS).map(Some)
        };
        let strings = match strings() {
            Ok(strings) => strings.unwrap_or_default(),
            Err(why) => {
                out.note(format!("environment of {} {}: {why}", task.name, task.pid));
                continue;
            }
        };
        for string in strings.split(|byte| *byte == 0) {
            let string = String::from_utf8_lossy(string);
            let Some((name, value)) = string.split_once('=') else { continue };
            let (name, value) = (name.to_owned(), value.to_owned());
            out.push(Variable { pid: task.pid, process: task.name.clone(), name, value, ..Variable::default() });
        }
    }
}
