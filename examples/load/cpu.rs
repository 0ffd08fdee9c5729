//! What a process and its children have used.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn numbers_in(folder: &str) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The process, and what it has forked.
fn tree(pid: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        // The name stands in brackets and may hold anything.
        read(&format!("/proc/{pid}/stat")).rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for process in numbers_in("/proc") {
        if let Some(parent) = parent(process) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(one) = all.get(at) {
        all.extend(children.get(one).into_iter().flatten().copied().collect::<Vec<_>>());
        at += 1;
    }
    all
}

/// CPU time of all threads, to the nanosecond (the scheduler's own account).
pub(crate) fn spent(pid: u32) -> Duration {
    let mut sum = 0;
    for process in tree(pid) {
        for thread in numbers_in(&format!("/proc/{process}/task")) {
            let account = read(&format!("/proc/{process}/task/{thread}/schedstat"));
            sum += account.split_whitespace().next().and_then(|spent| spent.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Duration::from_nanos(sum)
}

/// By thread name, for a look at where it goes.
pub(crate) fn spent_by_thread(pid: u32) -> Vec<(String, Duration)> {
    let mut all = Vec::new();
    for process in tree(pid) {
        for thread in numbers_in(&format!("/proc/{process}/task")) {
            let account = read(&format!("/proc/{process}/task/{thread}/schedstat"));
            let spent = account.split_whitespace().next().and_then(|spent| spent.parse::<u64>().ok()).unwrap_or(0);
            let name = read(&format!("/proc/{process}/task/{thread}/comm")).trim().to_owned();
            all.push((format!("{name}/{thread}"), Duration::from_nanos(spent)));
        }
    }
    all
}

/// Memory in kB: what it has for itself, and its share of what is shared.
pub(crate) fn memory_kb(pid: u32) -> u64 {
    let share = |process: u32| -> u64 {
        let text = read(&format!("/proc/{process}/smaps_rollup"));
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    tree(pid).into_iter().map(share).sum()
}
