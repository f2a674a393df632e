//! How results are printed: as a table for people, as JSON or YAML for programs, as Markdown for pull requests.

use std::fmt::{self, Write};
use std::io::{self, Write as _};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde::Serialize;

use super::error::CommandError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Table,
    Json,
    Yaml,
    Markdown,
}

impl Format {
    /// Whether programs read it, so that nothing else may stand in it.
    pub fn is_for_programs(self) -> bool {
        matches!(self, Self::Json | Self::Yaml)
    }
}

/// What people may ask for: the formats, and kubectl's word for a table with more columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Asked {
    Table,
    Json,
    Yaml,
    Markdown,
    #[value(hide = true)]
    Wide,
}

impl Asked {
    pub fn format(self) -> Format {
        match self {
            Self::Table | Self::Wide => Format::Table,
            Self::Json => Format::Json,
            Self::Yaml => Format::Yaml,
            Self::Markdown => Format::Markdown,
        }
    }
}

/// How well a cell is, which colours it on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Doubtful,
    Bad,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Doubtful => AnsiColor::Yellow.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
        }
    }
}

/// A piece of text in a table.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub fn new(text: impl Into<String>, tone: Tone) -> Self {
        // a tab would move the columns after it
        Self { text: printable(&text.into()).replace('\t', " "), tone }
    }

    pub fn is_blank(&self) -> bool {
        self.text.is_empty()
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Rows under headings.
pub struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new(headings: &[&str]) -> Self {
        Self { headings: headings.iter().map(|heading| printable(heading)).collect(), rows: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As text for a terminal, or as Markdown.
    pub fn shown(&self, format: Format) -> String {
        if format == Format::Markdown { self.markdown() } else { self.text() }
    }

    pub fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    fn text(&self) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| heading.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        let last = widths.len().saturating_sub(1);
        let line = |cells: Vec<(&str, Style)>| {
            let mut line = String::new();
            for (column, (text, style)) in cells.into_iter().enumerate() {
                let _ = write!(line, "{style}{text}{style:#}");
                if column < last {
                    let padding = widths[column] + 3 - text.chars().count();
                    line.push_str(&" ".repeat(padding));
                }
            }
            line + "\n"
        };
        let mut text = line(self.headings.iter().map(|heading| (heading.as_str(), Style::new().bold())).collect());
        for row in &self.rows {
            text.push_str(&line(row.iter().map(|cell| (cell.text.as_str(), cell.tone.style())).collect()));
        }
        text
    }

    fn markdown(&self) -> String {
        let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = row(self.headings.clone());
        text.push_str(&row(self.headings.iter().map(|_| "---".to_owned()).collect()));
        for cells in &self.rows {
            text.push_str(&row(cells.iter().map(|cell| in_markdown(&cell.text).replace('|', "\\|")).collect()));
        }
        text
    }
}

/// Prints a result: as what it is for programs, as a table for people.
pub fn print(format: Format, value: &impl Serialize, table: impl FnOnce() -> Table) -> Result<(), CommandError> {
    let unprintable =
        |error: &dyn std::error::Error| CommandError::new(format!("the result cannot be printed: {error}"));
    match format {
        Format::Table => print!("{}", table().text()),
        Format::Markdown => print!("{}", table().markdown()),
        Format::Json => println!("{}", serde_json::to_string_pretty(value).map_err(|error| unprintable(&error))?),
        Format::Yaml => print!("{}", serde_saphyr::to_string(value).map_err(|error| unprintable(&error))?),
    }
    Ok(())
}

/// Prints what came of a command: the object for programs, a sentence for people.
pub fn told(format: Format, object: &impl Serialize, sentence: &str) -> Result<(), CommandError> {
    if format.is_for_programs() {
        return print(format, object, || Table::new(&[]));
    }
    println!("{sentence}");
    Ok(())
}

/// Text from elsewhere without what a terminal would obey.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Text from elsewhere in a line of Markdown: what would be markup of HTML is shown as it stands.
pub fn in_markdown(text: &str) -> String {
    printable(text).replace('\\', "\\\\").replace('<', "&lt;").replace('\n', "<br>")
}

/// What every command prints goes through here. A reader that has seen enough is no mistake; a disk that is full ends the
/// program, since nobody would learn of the rest.
pub fn put(text: fmt::Arguments<'_>) {
    is_read(text);
}

/// The same for what has no end of its own; whether somebody reads on.
pub fn is_read(text: fmt::Arguments<'_>) -> bool {
    let mut out = anstream::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => false,
        Err(error) => {
            drop(out);
            CommandError::new(format!("the result cannot be written: {error}"))
                .at("standard output")
                .remedy("make room there, or write elsewhere")
                .print();
            std::process::exit(1);
        }
    }
}

/// What is said beside the result. Where nobody can hear it there is nobody to tell either.
pub fn say(text: fmt::Arguments<'_>) {
    let _ = anstream::stderr().lock().write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(vec!["orders-cache".into(), Cell::new("well", Tone::Good)]);
        table.row(vec!["a|b".into(), "-".into()]);
        table
    }

    #[test]
    fn columns_line_up() {
        let plain = anstream::adapter::strip_str(&table().text()).to_string();
        assert_eq!(plain, "NAME           STATE\norders-cache   well\na|b            -\n");
    }

    #[test]
    fn markdown_keeps_its_columns() {
        assert_eq!(table().markdown(), "| NAME | STATE |\n| --- | --- |\n| orders-cache | well |\n| a\\|b | - |\n");
    }

    #[test]
    fn nothing_in_a_cell_is_markup_or_ends_its_row() {
        let mut table = Table::new(&["WHAT"]);
        table.row(vec!["a\\| <!-- b\n<details>".into()]);
        assert_eq!(table.markdown(), "| WHAT |\n| --- |\n| a\\\\\\| &lt;!-- b<br>&lt;details> |\n");
    }

    #[test]
    fn what_a_terminal_would_obey_is_never_printed() {
        assert_eq!(printable("a\u{1b}[2Jb\r"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(printable("a\tb\n"), "a\tb\n");
        let mut table = Table::new(&["A", "B"]);
        table.row(vec!["a\tb".into(), "c".into()]);
        assert_eq!(anstream::adapter::strip_str(&table.text()).to_string(), "A     B\na b   c\n");
    }
}
