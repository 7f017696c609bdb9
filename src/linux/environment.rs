//! Environment variables, from the strings that execve laid on the stack.

use super::tasks::Task;
use super::{Linux, MOST_ARGUMENTS};
use crate::facts::{ReadError, Scope, Sink, Variable};

pub fn environment(linux: &Linux, scope: Scope, out: &mut Sink<Variable>) {
    linux.each_task("environment", scope, out, |task, out| of_task(linux, task, out));
}

fn of_task(linux: &Linux, task: &Task<'_>, out: &mut Sink<Variable>) -> Result<(), ReadError> {
    let Some(mm) = task.object.follow("mm")? else { return Ok(()) };
    let strings = linux.user_bytes(&task.object, mm.uint("env_start")?, mm.uint("env_end")?, MOST_ARGUMENTS)?;
    for string in strings.split(|byte| *byte == 0) {
        let string = String::from_utf8_lossy(string);
        let Some((name, value)) = string.split_once('=') else { continue };
        let (name, value) = (name.to_owned(), value.to_owned());
        out.push(Variable { pid: task.pid, process: task.name.clone(), name, value, ..Variable::default() });
    }
    Ok(())
}
