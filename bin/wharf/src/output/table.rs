//! Columns that align, as Go's tabwriter makes them for Docker: cells end at
//! a tab, a column is as wide as its widest cell and three spaces, and at
//! least ten; the last cell of a line is free.

const LEAST: usize = 10;
const GAP: usize = 3;

/// Aligns lines whose cells are separated by tabs.
pub(crate) fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![vec![0; columns]; lines.len()];
    for column in 0..columns {
        let mut line = 0;
        // A column is a run of lines that have it.
        while line < lines.len() {
            let has_it = |line: &Vec<&str>| column + 1 < line.len();
            let run = lines[line..].iter().take_while(|line| has_it(line)).count();
            let widest = lines[line..line + run]
                .iter()
                .map(|line| width(line[column]) + GAP)
                .max()
                .unwrap_or(0)
                .max(LEAST);
            for widths in &mut widths[line..line + run] {
                widths[column] = widest;
            }
            line += run.max(1);
        }
    }
    let mut aligned = String::with_capacity(text.len() * 2);
    for (cells, widths) in lines.iter().zip(&widths) {
        for (column, cell) in cells.iter().enumerate() {
            aligned.push_str(cell);
            if column + 1 < cells.len() {
                let missing = widths[column].saturating_sub(width(cell));
                aligned.extend(std::iter::repeat_n(' ', missing));
            }
        }
        aligned.push('\n');
    }
    aligned
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_as_docker_does() {
        let text = "CONTAINER ID\tIMAGE\tNAMES\n4c01db0b339c\talpine:3\tweb\n9\tübung\tdb";
        assert_eq!(
            align(text),
            "CONTAINER ID   IMAGE      NAMES\n\
             4c01db0b339c   alpine:3   web\n\
             9              übung      db\n"
        );
    }

    #[test]
    fn lines_without_cells_divide_columns() {
        assert_eq!(
            align("aaaaaaaaaaaa\tb\nno cell\nc\td"),
            "aaaaaaaaaaaa   b\nno cell\nc         d\n"
        );
        assert_eq!(align(""), "");
        assert_eq!(align("one"), "one\n");
        assert_eq!(align("a\t\tb"), "a                   b\n");
    }
}
