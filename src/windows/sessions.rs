//! Sessions and who is in them.

use super::Windows;
use super::hives::Hives;
use super::processes::Task;
use super::text::filetime;
use super::{sid, tokens};
use crate::facts::windows::SessionMember;
use crate::facts::{Known, ReadError, Scope, Sink};
use std::collections::HashMap;

pub fn sessions(windows: &Windows, scope: Scope, out: &mut Sink<SessionMember>) {
    let mut profiles = Profiles { hives: windows.hives(None), known: HashMap::new() };
    let mut rows = Vec::new();
    let tasks = windows.told_tasks(scope, out);
    out.each(
        &tasks,
        |task| format!("session of {} {}", task.name, task.pid),
        |task, _| {
            rows.push(windows.session_member(task, &mut profiles)?);
            Ok(())
        },
    );
    // Sessions in their order, processes outside of any after them.
    rows.sort_by_key(|row| (row.session.value().copied().unwrap_or(u32::MAX), row.pid));
    out.extend(rows);
}

impl Windows {
    fn session_member(&self, task: &Task<'_>, profiles: &mut Profiles<'_>) -> Result<SessionMember, ReadError> {
        let process = &task.object;
        let environment = self.variables(process);
        let variable = |name: &str| {
            let (variables, _) = environment.as_ref().ok()?.as_ref()?;
            Some(variables.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?.1.clone())
        };
        let told = |value: Option<String>| match &environment {
            Err(why) => Known::Unreadable(*why),
            // What was cut off may have held it.
            Ok(Some((_, Some(why)))) if value.is_none() => Known::Unreadable(*why),
            Ok(_) => value.into(),
        };
        let user = match (variable("USERDOMAIN"), variable("USERNAME")) {
            (Some(domain), Some(user)) => Some(format!("{domain}\\{user}")),
            (_, user) => user,
        };
        Ok(SessionMember {
            session: self.session(process).into(),
            session_type: told(variable("SESSIONNAME")),
            pid: task.pid,
            process: task.name.clone(),
            user: self.token(process).and_then(|token| tokens::user_sid(&token)).map(|sid| sid.map(|sid| profiles.name(sid))).into(),
            environment_user: told(user),
            create_time: process.uint("CreateTime").map(filetime).into(),
            process_address: process.address,
            ..SessionMember::default()
        })
    }
}

/// Names of users: those that every system has, and those that have a profile on this one.
struct Profiles<'a> {
    hives: Hives<'a>,
    known: HashMap<String, String>,
}

impl Profiles<'_> {
    const LIST: &'static str = "HKLM\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\ProfileList";

    /// The user's name; the SID itself where none is known.
    fn name(&mut self, sid: String) -> String {
        if let Some(known) = self.known.get(&sid) {
            return known.clone();
        }
        let profile = || -> Option<String> {
            let value = self.hives.value(&format!("{}\\{sid}", Self::LIST), "ProfileImagePath").ok()??;
            let path = value.text(value.data.as_ref().ok()?)?;
            path.rsplit('\\').next().filter(|name| !name.is_empty()).map(str::to_owned)
        };
        let name = sid::name(&sid).or_else(profile).unwrap_or_else(|| sid.clone());
        self.known.insert(sid, name.clone());
        name
    }
}
