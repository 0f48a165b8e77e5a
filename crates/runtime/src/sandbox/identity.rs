//! What the kernel keeps per process, understood. Pure.

use spec::runtime::{IoPriority, Linux, MemoryPolicy, Personality, Process, Rlimit, Scheduler};
use sys::caps::Caps;
use sys::rlimit::{Limit, Resource};
use sys::scheduling::{
    self, IO_CLASSES, MEMORY_FLAGS, MEMORY_MODES, NumberSet, Policy, SCHEDULER_FLAGS, Scheduling,
};
use sys::{Context as _, Error, Result};

use super::{invalid, unsupported};

/// A process of a container, ready to be made.
#[derive(Debug)]
pub(crate) struct Identity<'a> {
    pub(crate) process: &'a Process,
    pub(crate) bounding: Caps,
    pub(crate) effective: Caps,
    pub(crate) permitted: Caps,
    pub(crate) inheritable: Caps,
    pub(crate) ambient: Caps,
    pub(crate) limits: Vec<(&'a str, Resource, Limit)>,
    pub(crate) scheduling: Option<Scheduling>,
    /// Class and level.
    pub(crate) io_priority: Option<(u16, u8)>,
    /// Before and after the cgroup is entered.
    pub(crate) affinity: (Option<NumberSet>, Option<NumberSet>),
    /// Mode with its flags.
    pub(crate) memory_policy: Option<(i32, NumberSet)>,
    pub(crate) personality: Option<u32>,
    pub(crate) labels: Labels<'a>,
    /// What cannot be given, in words.
    pub(crate) warnings: Vec<String>,
}

/// What a security module is asked to run the program as.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Labels<'a> {
    pub(crate) apparmor: Option<&'a str>,
    pub(crate) selinux: Option<&'a str>,
}

impl<'a> Identity<'a> {
    /// `linux` is the container's part of it. `available` bounds what can be
    /// given: what we have ourselves, or everything in another user namespace.
    pub(crate) fn plan(process: &'a Process, linux: &Linux, available: Caps) -> Result<Self> {
        if process.args.is_empty() {
            return Err(invalid("process.args is empty: no program to run"));
        }
        if !process.cwd.starts_with('/') {
            return Err(invalid(format!(
                "process.cwd {:?} is not absolute",
                process.cwd
            )));
        }
        if let Some(asked) = process.oom_score_adj
            && !(-1000..=1000).contains(&asked)
        {
            return Err(invalid(format!(
                "process.oomScoreAdj {asked} is outside of -1000 to 1000"
            )));
        }
        let mut identity = Self {
            process,
            bounding: Caps::default(),
            effective: Caps::default(),
            permitted: Caps::default(),
            inheritable: Caps::default(),
            ambient: Caps::default(),
            limits: limits(&process.rlimits)?,
            scheduling: process.scheduler.as_ref().map(scheduling).transpose()?,
            io_priority: process.io_priority.as_ref().map(io_priority).transpose()?,
            affinity: affinity(process)?,
            memory_policy: linux
                .memory_policy
                .as_ref()
                .map(memory_policy)
                .transpose()?,
            personality: linux.personality.as_ref().map(personality).transpose()?,
            labels: Labels {
                apparmor: given(process.apparmor_profile.as_deref()),
                selinux: given(process.selinux_label.as_deref()),
            },
            warnings: Vec::new(),
        };
        identity.plan_capabilities(available)?;
        Ok(identity)
    }

    /// What a process that joins does not say itself, it has as the
    /// container's first one.
    pub(crate) fn take_from(&mut self, first: &'a Process) -> Result<()> {
        let labels = &mut self.labels;
        labels.apparmor = labels.apparmor.or(given(first.apparmor_profile.as_deref()));
        labels.selinux = labels.selinux.or(given(first.selinux_label.as_deref()));
        if self.process.exec_cpu_affinity.is_none() {
            self.affinity = affinity(first)?;
        }
        Ok(())
    }

    /// A capability that cannot be given is a warning and no error
    /// (config.md, "Linux Process").
    fn plan_capabilities(&mut self, ours: Caps) -> Result<()> {
        let Some(caps) = &self.process.capabilities else {
            return Ok(());
        };
        let mut unknown = Vec::new();
        let mut set = |names: &[String]| {
            let (set, more) = Caps::from_known_names(names);
            unknown.extend(more.into_iter().map(str::to_owned));
            set
        };
        self.bounding = set(&caps.bounding);
        self.permitted = set(&caps.permitted) & ours;
        self.effective = set(&caps.effective) & ours;
        self.inheritable = set(&caps.inheritable) & ours;
        self.ambient = set(&caps.ambient) & ours & self.permitted;
        if !self.permitted.contains(self.effective) {
            return Err(invalid(
                "process.capabilities: an effective capability is not permitted",
            ));
        }
        unknown.sort();
        unknown.dedup();
        let warning = |name| format!("process.capabilities: unknown capability {name} is left out");
        self.warnings.extend(unknown.into_iter().map(warning));
        Ok(())
    }
}

/// An empty string asks for nothing.
fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn limits(limits: &[Rlimit]) -> Result<Vec<(&str, Resource, Limit)>> {
    let mut planned: Vec<(&str, Resource, Limit)> = Vec::with_capacity(limits.len());
    for limit in limits {
        let invalid = |why: &str| invalid(format!("process.rlimits: {} {why}", limit.kind));
        if limit.soft > limit.hard {
            return Err(invalid("has a soft limit above its hard limit"));
        }
        let resource = Resource::from_name(&limit.kind).context(|| "process.rlimits")?;
        if planned.iter().any(|(_, known, _)| *known == resource) {
            return Err(invalid("is there twice"));
        }
        let values = Limit {
            soft: limit.soft,
            hard: limit.hard,
        };
        planned.push((&limit.kind, resource, values));
    }
    Ok(planned)
}

fn scheduling(asked: &Scheduler) -> Result<Scheduling> {
    let field = "process.scheduler";
    let policy = Policy::from_name(&asked.policy)
        .ok_or_else(|| unknown("process.scheduler.policy", &asked.policy))?;
    let priority = u32::try_from(asked.priority)
        .map_err(|_| invalid(format!("{field}.priority {} is negative", asked.priority)))?;
    if !(-20..=19).contains(&asked.nice) {
        let nice = asked.nice;
        return Err(invalid(format!(
            "{field}.nice {nice} is outside of -20 to 19"
        )));
    }
    if policy.is_real_time() && !(1..=99).contains(&priority) {
        return Err(invalid(format!(
            "{field}.priority {priority} is outside of 1 to 99, which {} needs",
            asked.policy
        )));
    }
    if !policy.is_real_time() && priority != 0 {
        let policy = &asked.policy;
        return Err(invalid(format!(
            "{field}.priority means nothing to {policy}"
        )));
    }
    let times = [asked.runtime, asked.deadline, asked.period];
    if policy != Policy::DEADLINE && times.iter().any(|time| *time != 0) {
        return Err(invalid(format!(
            "{field}: runtime, deadline and period belong to SCHED_DEADLINE"
        )));
    }
    let flags = asked.flags.iter().try_fold(0, |flags, name| {
        let known = SCHEDULER_FLAGS.iter().find(|(known, _)| known == name);
        let (_, flag) = known.ok_or_else(|| unknown("process.scheduler.flags", name))?;
        Ok::<u64, Error>(flags | flag)
    })?;
    Ok(Scheduling {
        policy,
        flags,
        nice: asked.nice,
        priority,
        runtime: asked.runtime,
        deadline: asked.deadline,
        period: asked.period,
    })
}

fn io_priority(asked: &IoPriority) -> Result<(u16, u8)> {
    let known = IO_CLASSES.iter().find(|(known, _)| *known == asked.class);
    let (_, class) = known.ok_or_else(|| unknown("process.ioPriority.class", &asked.class))?;
    let level = u8::try_from(asked.priority).ok().filter(|level| *level < 8);
    let level = level.ok_or_else(|| {
        invalid(format!(
            "process.ioPriority.priority {} is outside of 0 to 7",
            asked.priority
        ))
    })?;
    Ok((*class, level))
}

fn affinity(process: &Process) -> Result<(Option<NumberSet>, Option<NumberSet>)> {
    let Some(asked) = &process.exec_cpu_affinity else {
        return Ok((None, None));
    };
    let read = |list: &Option<String>, name: &str| {
        let list = given(list.as_deref()).map(NumberSet::parse).transpose();
        list.context(|| format!("process.execCPUAffinity.{name}"))
    };
    Ok((
        read(&asked.initial, "initial")?,
        read(&asked.last, "final")?,
    ))
}

fn memory_policy(asked: &MemoryPolicy) -> Result<(i32, NumberSet)> {
    let known = MEMORY_MODES.iter().find(|(known, _)| *known == asked.mode);
    let (_, mode) = known.ok_or_else(|| unknown("linux.memoryPolicy.mode", &asked.mode))?;
    let mode = asked.flags.iter().try_fold(*mode, |mode, name| {
        let known = MEMORY_FLAGS.iter().find(|(known, _)| known == name);
        let (_, flag) = known.ok_or_else(|| unknown("linux.memoryPolicy.flags", name))?;
        Ok::<i32, Error>(mode | flag)
    })?;
    let nodes = match asked.nodes.as_str() {
        "" => NumberSet::default(),
        list => NumberSet::parse(list).context(|| "linux.memoryPolicy.nodes")?,
    };
    Ok((mode, nodes))
}

fn personality(asked: &Personality) -> Result<u32> {
    if let Some(flag) = asked.flags.first() {
        return Err(unsupported(&format!("linux.personality.flags: {flag:?}")));
    }
    let known = PERSONALITIES
        .iter()
        .find(|(known, _)| *known == asked.domain);
    let known = known.ok_or_else(|| unknown("linux.personality.domain", &asked.domain))?;
    Ok(known.1)
}

/// Names of the specification, numbers of linux/personality.h.
const PERSONALITIES: [(&str, u32); 2] = [("LINUX", 0), ("LINUX32", 8)];

fn unknown(field: &str, value: &str) -> Error {
    invalid(format!("{field}: unknown value {value:?}"))
}

/// Puts in force what needs no right that is given up later.
pub(crate) fn apply_scheduling(identity: &Identity<'_>) -> Result<()> {
    if let Some((mode, nodes)) = &identity.memory_policy {
        scheduling::set_memory_policy(*mode, nodes).context(|| "set linux.memoryPolicy")?;
    }
    if let Some((class, level)) = identity.io_priority {
        scheduling::set_io_priority(class, level).context(|| "set process.ioPriority")?;
    }
    if let Some(scheduling) = &identity.scheduling {
        scheduling::set(scheduling).context(|| "set process.scheduler")?;
    }
    Ok(())
}
