//! Decisions by system call number → classic BPF. Pure.
//!
//! A binary search over ranges of numbers, so that a decision takes about
//! seven comparisons; neighbours with the same answer are one range, since
//! loading costs time by length.

use std::collections::BTreeMap;

use sys::seccomp::Instruction;

/// What seccomp(2) does, as `SECCOMP_RET_*`.
pub(super) type Answer = u32;

pub(super) const ALLOW: Answer = 0x7fff_0000;
pub(super) const KILL_PROCESS: Answer = 0x8000_0000;

pub(super) const fn errno(number: u32) -> Answer {
    0x0005_0000 | (number & 0xffff)
}

/// Comparison of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    /// 0 to 5.
    pub(super) index: u8,
    pub(super) test: Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Equal(u64),
    NotEqual(u64),
    Greater(u64),
    GreaterOrEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    MaskedEqual { mask: u64, value: u64 },
}

/// Holds if all conditions do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) answer: Answer,
}

/// What one architecture's calls get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// `AUDIT_ARCH_*`.
    pub(super) architecture: u32,
    /// Cleared from the number first (the x32 bit, where x32 is allowed).
    pub(super) ignored_bits: u32,
    /// The first rule that holds decides.
    pub(super) calls: BTreeMap<u32, Vec<Rule>>,
    /// If none does, and for numbers without rules.
    pub(super) otherwise: Answer,
    /// From this number on calls without rules are newer than the profile.
    pub(super) unknown_from: u32,
    pub(super) unknown: Answer,
}

// linux/bpf_common.h
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;
// struct seccomp_data
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// Calls of other architectures get `foreign`.
pub(super) fn compile(tables: &[Table], foreign: Answer) -> Vec<Instruction> {
    let mut code = Assembler::default();
    let starts: Vec<(u32, Label)> = tables
        .iter()
        .rev()
        .map(|table| (table.architecture, code.table(table)))
        .collect();
    let mut next = code.answer(foreign);
    for (architecture, start) in starts {
        next = code.branch(JUMP_EQUAL, architecture, start, next);
    }
    code.load(ARCHITECTURE, next);
    code.reversed.reverse();
    code.reversed
}

/// Index of an instruction in the reversed program. Jumps only lead forward,
/// so writing from the end every target is known.
type Label = usize;

/// As far as a conditional jump reaches, less what a detour may add.
const REACH: usize = 250;

#[derive(Default)]
struct Assembler {
    reversed: Vec<Instruction>,
    /// The latest return of each answer.
    answers: BTreeMap<Answer, Label>,
}

impl Assembler {
    fn table(&mut self, table: &Table) -> Label {
        let search = self.search_tree(table);
        let masked = match table.ignored_bits {
            0 => search,
            bits => self.then(AND, !bits, search),
        };
        self.load(NUMBER, masked)
    }

    fn search_tree(&mut self, table: &Table) -> Label {
        let mut ranges: Vec<(u32, Target<'_>)> = Vec::new();
        let otherwise = Target::Answer(table.otherwise);
        let unknown = Target::Answer(table.unknown);
        let mut next = 0;
        let fill = |ranges: &mut Vec<_>, next: u32, end: Option<u32>| {
            let known_end = end.unwrap_or(u32::MAX).min(table.unknown_from);
            if next < known_end {
                extend(ranges, next, otherwise);
            }
            let start = next.max(table.unknown_from);
            if end.is_none_or(|end| start < end) {
                extend(ranges, start, unknown);
            }
        };
        for (number, rules) in &table.calls {
            fill(&mut ranges, next, Some(*number));
            extend(&mut ranges, *number, Target::of(rules));
            next = number + 1;
        }
        fill(&mut ranges, next, None);
        self.tree(&ranges, table.otherwise)
    }

    fn tree(&mut self, ranges: &[(u32, Target<'_>)], otherwise: Answer) -> Label {
        match ranges {
            [] => self.answer(otherwise),
            [(_, Target::Answer(answer))] => self.answer(*answer),
            [(_, Target::Rules(rules))] => self.rules(rules, otherwise),
            ranges => {
                let (low, high) = ranges.split_at(ranges.len() / 2);
                let above = self.tree(high, otherwise);
                let below = self.tree(low, otherwise);
                self.branch(JUMP_GREATER_EQUAL, high[0].0, above, below)
            }
        }
    }

    fn rules(&mut self, rules: &[Rule], otherwise: Answer) -> Label {
        let mut next = self.answer(otherwise);
        for rule in rules.iter().rev() {
            let mut held = self.answer(rule.answer);
            for condition in rule.conditions.iter().rev() {
                held = self.condition(*condition, held, next);
            }
            next = held;
        }
        next
    }

    fn condition(&mut self, condition: Condition, yes: Label, no: Label) -> Label {
        // Little endian: the low half comes first.
        let low = 16 + 8 * u32::from(condition.index);
        let high = low + 4;
        match condition.test {
            Test::Equal(value) => self.masked_equal(low, u64::MAX, value, (yes, no)),
            Test::NotEqual(value) => self.masked_equal(low, u64::MAX, value, (no, yes)),
            Test::MaskedEqual { mask, value } => self.masked_equal(low, mask, value, (yes, no)),
            Test::Greater(value) => self.order(JUMP_GREATER, low, high, value, (yes, no)),
            Test::GreaterOrEqual(value) => {
                self.order(JUMP_GREATER_EQUAL, low, high, value, (yes, no))
            }
            Test::Less(value) => self.order(JUMP_GREATER_EQUAL, low, high, value, (no, yes)),
            Test::LessOrEqual(value) => self.order(JUMP_GREATER, low, high, value, (no, yes)),
        }
    }

    fn masked_equal(
        &mut self,
        low: u32,
        mask: u64,
        value: u64,
        (yes, no): (Label, Label),
    ) -> Label {
        let mut next = yes;
        for (offset, mask, value) in [
            (low, half(mask, 0), half(value, 0)),
            (low + 4, half(mask, 32), half(value, 32)),
        ] {
            if mask == 0 {
                // Nothing of this half is looked at.
                next = if value == 0 { next } else { no };
                continue;
            }
            next = self.branch(JUMP_EQUAL, value, next, no);
            if mask != u32::MAX {
                next = self.then(AND, mask, next);
            }
            next = self.load(offset, next);
        }
        next
    }

    fn order(
        &mut self,
        last: u16,
        low: u32,
        high: u32,
        value: u64,
        (yes, no): (Label, Label),
    ) -> Label {
        let same = self.branch(last, half(value, 0), yes, no);
        let same = self.load(low, same);
        let not_above = self.branch(JUMP_EQUAL, half(value, 32), same, no);
        let start = self.branch(JUMP_GREATER, half(value, 32), yes, not_above);
        self.load(high, start)
    }

    /// A return near enough to be jumped to.
    fn answer(&mut self, answer: Answer) -> Label {
        if let Some(label) = self.answers.get(&answer)
            && self.reversed.len() - label < REACH
        {
            return *label;
        }
        let label = self.push(RETURN, 0, 0, answer);
        self.answers.insert(answer, label);
        label
    }

    fn branch(&mut self, code: u16, value: u32, yes: Label, no: Label) -> Label {
        let yes = self.near(yes);
        let no = self.near(no);
        let here = self.reversed.len();
        let distance = |label: Label| u8::try_from(here - label - 1).unwrap_or(u8::MAX);
        self.push(code, distance(yes), distance(no), value)
    }

    fn load(&mut self, offset: u32, next: Label) -> Label {
        self.then(LOAD, offset, next)
    }

    /// An instruction that goes on with `next`.
    fn then(&mut self, code: u16, value: u32, next: Label) -> Label {
        if next + 1 != self.reversed.len() {
            self.jump(next);
        }
        self.push(code, 0, 0, value)
    }

    fn near(&mut self, label: Label) -> Label {
        if self.reversed.len() - label < REACH {
            return label;
        }
        let target = self.reversed[label];
        if target.code == RETURN {
            return self.answer(target.value);
        }
        self.jump(label)
    }

    fn jump(&mut self, label: Label) -> Label {
        let distance = u32::try_from(self.reversed.len() - label - 1).unwrap_or(u32::MAX);
        self.push(JUMP, 0, 0, distance)
    }

    fn push(&mut self, code: u16, jump_true: u8, jump_false: u8, value: u32) -> Label {
        self.reversed.push(Instruction {
            code,
            jump_true,
            jump_false,
            value,
        });
        self.reversed.len() - 1
    }
}

/// Where a range of numbers leads.
#[derive(Clone, Copy, Debug)]
enum Target<'a> {
    Answer(Answer),
    Rules(&'a [Rule]),
}

impl<'a> Target<'a> {
    fn of(rules: &'a [Rule]) -> Self {
        match rules.first() {
            Some(rule) if rule.conditions.is_empty() => Self::Answer(rule.answer),
            _ => Self::Rules(rules),
        }
    }

    fn same(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Answer(one), Self::Answer(two)) if one == two)
    }
}

/// Begins a range at `start`, unless it only goes on with the last one.
fn extend<'a>(ranges: &mut Vec<(u32, Target<'a>)>, start: u32, target: Target<'a>) {
    if !ranges.last().is_some_and(|(_, last)| last.same(&target)) {
        ranges.push((start, target));
    }
}

fn half(value: u64, shift: u32) -> u32 {
    u32::try_from((value >> shift) & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A BPF machine, for what the compiler emits.
    pub(in crate::seccomp) fn run(
        program: &[Instruction],
        architecture: u32,
        number: u32,
        args: &[u64; 6],
    ) -> Answer {
        let word = |offset: u32| match offset {
            NUMBER => number,
            ARCHITECTURE => architecture,
            offset => half(args[(offset as usize - 16) / 8], offset % 8 * 8),
        };
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let Instruction {
                code,
                jump_true,
                jump_false,
                value,
            } = program[at];
            at += 1;
            let holds = match code {
                LOAD => {
                    accumulator = word(value);
                    continue;
                }
                AND => {
                    accumulator &= value;
                    continue;
                }
                JUMP => {
                    at += value as usize;
                    continue;
                }
                RETURN => return value,
                JUMP_EQUAL => accumulator == value,
                JUMP_GREATER => accumulator > value,
                JUMP_GREATER_EQUAL => accumulator >= value,
                code => panic!("unknown instruction {code:#x}"),
            };
            at += usize::from(if holds { jump_true } else { jump_false });
        }
    }

    fn decide(tables: &[Table], foreign: Answer, call: (u32, u32), args: &[u64; 6]) -> Answer {
        let (architecture, number) = call;
        let Some(table) = tables
            .iter()
            .find(|table| table.architecture == architecture)
        else {
            return foreign;
        };
        let number = number & !table.ignored_bits;
        let rules = match table.calls.get(&number) {
            None if number >= table.unknown_from => return table.unknown,
            rules => rules.map_or(&[][..], Vec::as_slice),
        };
        let holds = |condition: &Condition| {
            let arg = args[usize::from(condition.index)];
            match condition.test {
                Test::Equal(value) => arg == value,
                Test::NotEqual(value) => arg != value,
                Test::Greater(value) => arg > value,
                Test::GreaterOrEqual(value) => arg >= value,
                Test::Less(value) => arg < value,
                Test::LessOrEqual(value) => arg <= value,
                Test::MaskedEqual { mask, value } => arg & mask == value,
            }
        };
        rules
            .iter()
            .find(|rule| rule.conditions.iter().all(holds))
            .map_or(table.otherwise, |rule| rule.answer)
    }

    /// Values that collide often.
    fn value() -> impl Strategy<Value = u64> {
        prop_oneof![0..4_u64, Just(1 << 32), Just((1 << 32) + 1), any::<u64>()]
    }

    fn test() -> impl Strategy<Value = Test> {
        prop_oneof![
            value().prop_map(Test::Equal),
            value().prop_map(Test::NotEqual),
            value().prop_map(Test::Greater),
            value().prop_map(Test::GreaterOrEqual),
            value().prop_map(Test::Less),
            value().prop_map(Test::LessOrEqual),
            (value(), value()).prop_map(|(mask, value)| Test::MaskedEqual { mask, value }),
        ]
    }

    fn table(architecture: u32) -> impl Strategy<Value = Table> {
        let condition = (0..2_u8, test()).prop_map(|(index, test)| Condition { index, test });
        let rule = (proptest::collection::vec(condition, 0..3), 0..4_u32)
            .prop_map(|(conditions, answer)| Rule { conditions, answer });
        let rules = proptest::collection::vec(rule, 1..4);
        (
            proptest::collection::btree_map(0..500_u32, rules, 0..200),
            1..500_u32,
            prop_oneof![Just(0), Just(0x4000_0000)],
        )
            .prop_map(move |(calls, unknown_from, ignored_bits)| Table {
                architecture,
                ignored_bits,
                calls,
                otherwise: 7,
                unknown_from,
                unknown: 8,
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn the_program_decides_as_the_rules_do(
            tables in (table(1), table(2)),
            calls in proptest::collection::vec((0..4_u32, 0..510_u32, any::<bool>()), 200),
            args in proptest::array::uniform6(value()),
        ) {
            let tables = [tables.0, tables.1];
            let program = compile(&tables, 9);
            for (architecture, number, x32) in calls {
                let number = if x32 { number | 0x4000_0000 } else { number };
                let call = (architecture, number);
                prop_assert_eq!(
                    run(&program, architecture, number, &args),
                    decide(&tables, 9, call, &args)
                );
            }
        }
    }
}
