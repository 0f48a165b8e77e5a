//! The live view as one screen of text.

use std::fmt::Write as _;

use super::view::{HISTORY, Row, Sort, View};
use crate::output::human;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const BOLD: &str = "\x1b[1m";
const CHOSEN: &str = "\x1b[7m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";
/// Clears to the end of the line.
const REST: &str = "\x1b[K";

/// All of it, drawn over what was there.
pub(super) fn screen(view: &View, width: u16, height: u16) -> String {
    let (width, height) = (usize::from(width), usize::from(height).max(3));
    let mut lines: Vec<(&str, String)> = Vec::new();
    let room = height - 2;
    if let Some((name, log)) = view.logs() {
        lines.push((BOLD, format!("logs of {name}")));
        let from = log.len().saturating_sub(room);
        lines.extend(log[from..].iter().map(|line| ("", line.clone())));
    } else {
        let rows = view.rows();
        lines.push((BOLD, header(view, &rows)));
        // The chosen one is always in sight.
        let chosen = rows.iter().position(|(chosen, _)| *chosen).unwrap_or(0);
        let room = room.saturating_sub(1).max(1);
        let from = (chosen + 1).saturating_sub(room);
        lines.push((DIM, titles(view.sort)));
        for (chosen, row) in rows.iter().skip(from).take(room) {
            lines.push((if *chosen { CHOSEN } else { "" }, line(row)));
        }
    }
    lines.truncate(height - 1);
    let mut text = "\x1b[H".to_owned();
    for (style, line) in &lines {
        let _ = write!(text, "{style}{}{PLAIN}{REST}\r\n", fitting(line, width));
    }
    // Below the last line nothing of an earlier screen may stay.
    let _ = write!(
        text,
        "\x1b[J\x1b[{height};1H{DIM}{}{PLAIN}{REST}",
        fitting(&view.footer(), width)
    );
    text
}

fn header(view: &View, rows: &[(bool, Row)]) -> String {
    // The sum of nothing is a negative zero.
    let cpu = rows.iter().filter_map(|(_, row)| row.cpu).sum::<f64>() + 0.0;
    let memory = rows.iter().map(|(_, row)| row.memory).sum();
    let by = match view.sort {
        Sort::Cpu => "CPU",
        Sort::Memory => "memory",
        Sort::Io => "I/O",
        Sort::Processes => "processes",
        Sort::Name => "name",
    };
    format!(
        "wharf top: {} running, CPU {cpu:.1}%, memory {}, by {by}",
        rows.len(),
        human::precise_memory(memory)
    )
}

fn titles(sort: Sort) -> String {
    let mark = |own: Sort, title: &str| {
        if own == sort {
            format!("{title}▾")
        } else {
            title.to_owned()
        }
    };
    format!(
        "{:24} {:>8} {:12} {:>20} {:>6} {:>20} {:>6}",
        mark(Sort::Name, "NAME"),
        mark(Sort::Cpu, "CPU %"),
        "",
        mark(Sort::Memory, "MEMORY / LIMIT"),
        "MEM %",
        mark(Sort::Io, "READ / WRITTEN"),
        mark(Sort::Processes, "PIDS"),
    )
}

fn line(row: &Row) -> String {
    let cpu = row
        .cpu
        .map_or_else(|| "--".to_owned(), |cpu| format!("{cpu:.1}"));
    let memory = format!(
        "{} / {}",
        human::precise_memory(row.memory),
        human::precise_memory(row.limit)
    );
    let share = row.memory.saturating_mul(1000) / row.limit.max(1);
    let io = format!(
        "{}/s / {}/s",
        human::size(row.read),
        human::size(row.written)
    );
    format!(
        "{:24} {cpu:>8} {:12} {memory:>20} {:>6} {io:>20} {:>6}",
        fitting(&row.name, 24),
        sparkline(&row.history),
        format!("{}.{}", share / 10, share % 10),
        row.processes
    )
}

/// One bar per look; the highest there was, but at least a whole processor, is
/// the full height.
fn sparkline(history: &[f64]) -> String {
    let top = history.iter().copied().fold(100.0, f64::max);
    let mut text = " ".repeat(HISTORY.saturating_sub(history.len()));
    for percent in history {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to 7
        let height = (percent / top * 7.0).round().clamp(0.0, 7.0) as usize;
        text.push(BARS[height]);
    }
    text
}

/// At most `width` characters, none of which can command the terminal.
fn fitting(text: &str, width: usize) -> String {
    text.trim_end_matches(['\r', '\n'])
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(width)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow_with_the_load() {
        assert_eq!(
            sparkline(&[0.0, 50.0, 100.0]),
            format!("{}▁▅█", " ".repeat(9))
        );
        assert_eq!(sparkline(&[100.0, 400.0]), format!("{}▃█", " ".repeat(10)));
    }

    #[test]
    fn a_log_cannot_command_the_terminal() {
        assert_eq!(fitting("a\x1b[2Jb\tc\r\n", 80), "a [2Jb c");
        assert_eq!(fitting("abcdef", 3), "abc");
    }
}
