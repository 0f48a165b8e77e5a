//! What authors of tests use: a clone for each test, in Rust (here) and in Python (`demo/wharf_clones.py`).

use black_box_tests::{Bed, bed, binary};

use crate::{counter, inside, templates};

/// A clone that is gone when it is dropped.
struct Clone<'a> {
    bed: &'a Bed,
    id: String,
}

impl<'a> Clone<'a> {
    fn of(bed: &'a Bed, source: &str) -> Self {
        let id = bed.run(&["clone", source]).ok();
        Self { bed, id }
    }
}

impl Drop for Clone<'_> {
    fn drop(&mut self) {
        self.bed.run(&["rm", "-f", "-v", &self.id]);
    }
}

#[test]
fn in_rust() {
    bed!(|bed| {
        counter(bed, "one", &[]);
        inside(bed, "one", "echo fresh > /file");
        bed.run(&["clone", "--keep-template=warm", "one", "0"]).ok();
        std::thread::scope(|scope| {
            for number in 0..6 {
                scope.spawn(move || {
                    let clone = Clone::of(bed, "warm");
                    let script = format!("cat /file; echo {number} > /file; cat /file");
                    assert_eq!(inside(bed, &clone.id, &script), format!("fresh\n{number}"));
                });
            }
        });
        assert_eq!(bed.run(&["ps", "-a", "--format", "{{.Names}}"]).ok(), "one");
        bed.run(&["template", "rm", "warm"]).ok();
        assert_eq!(templates(bed), 0);
    });
}

#[test]
fn in_python() {
    bed!(|bed| {
        counter(bed, "one", &["-p", "80"]);
        inside(bed, "one", "echo fresh > /file");
        let tests = "
from concurrent.futures import ThreadPoolExecutor
from wharf_clones import clone, wharf

def test(number):
    with clone('one', '-p', '80') as one:
        assert one.run('cat', '/file') == 'fresh'
        one.run('sh', '-c', f'echo {number} > /file')
        assert one.run('cat', '/file') == str(number)
        return one.port(80)

with ThreadPoolExecutor(3) as pool:
    assert len(set(pool.map(test, range(3)))) == 3
assert wharf('ps', '-aq').count('\\n') == 0
try:
    wharf('clone', 'none')
    raise SystemExit('it should have failed')
except RuntimeError as error:
    assert 'no such container' in str(error), error
";
        let command = format!(
            "{} --root {} --runroot {}",
            binary("wharf").display(),
            bed.root().display(),
            bed.runroot().display()
        );
        bed.program("/usr/bin/python3", &["-c", tests])
            .variable("WHARF", &command)
            .variable(
                "PYTHONPATH",
                concat!(env!("CARGO_MANIFEST_DIR"), "/../demo"),
            )
            .variable("PYTHONDONTWRITEBYTECODE", "1")
            .run()
            .ok();
        assert_eq!(templates(bed), 0);
    });
}
