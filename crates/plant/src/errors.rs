//! What is wrong with a plant file, for people and for programs.

use std::{fmt, ops::Range, sync::Arc};

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use crate::secret::without_secrets;

/// One thing that is wrong with a plant file.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The file, as it was named to the parser.
    pub file: String,
    /// From 1; 0 where the problem is with the file as a whole.
    pub line: usize,
    /// In characters, from 1; 0 where the problem is with the file as a whole.
    pub column: usize,
    /// What is wrong, where in the plant.
    pub message: String,
    /// What is allowed, or what to do; may be empty.
    pub advice: String,
    span: Option<Range<usize>>,
    first: Option<Range<usize>>,
    source: Arc<NamedSource<String>>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.advice.is_empty()).then(|| Box::new(&self.advice) as Box<dyn fmt::Display + 'a>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.span.is_some().then_some(&*self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let here = self.span.clone().map(|span| LabeledSpan::new_primary_with_span(Some("here".to_owned()), span));
        let first = self.first.clone().map(|span| LabeledSpan::new_with_span(Some("first here".to_owned()), span));
        Some(Box::new(here.into_iter().chain(first)))
    }
}

/// Everything that is wrong with a plant file, in the order of the file.
///
/// `Display` prints one line a problem, `file:line:column: what is wrong; what is allowed`, for programs and logs;
/// [`PlantErrors::fancy`] prints the same with the file's own text, for people at a terminal. As a miette diagnostic it
/// carries each problem as a related one.
#[derive(Clone, Debug)]
pub struct PlantErrors {
    problems: Vec<Problem>,
}

impl PlantErrors {
    /// The problems, in the order of the file; at least one.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The problems with the text they stand in, with box drawing but without colour.
    pub fn fancy(&self) -> String {
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
        let mut text = String::new();
        for problem in &self.problems {
            // Rendering fails only where a span lies outside of its text; the plain line then says as much.
            if handler.render_report(&mut text, problem).is_err() {
                text.push_str(&plain(problem));
                text.push('\n');
            }
        }
        text
    }

    pub(crate) fn of_file(file_name: &str, message: String, advice: &str) -> Self {
        let problem = Problem {
            file: file_name.to_owned(),
            line: 0,
            column: 0,
            message,
            advice: advice.to_owned(),
            span: None,
            first: None,
            source: Arc::new(NamedSource::new(file_name, String::new())),
        };
        Self { problems: vec![problem] }
    }

    pub(crate) fn of_text(file_name: &str, text: &str, mut found: Vec<Found>) -> Self {
        assert!(!found.is_empty(), "a file without a problem is a plant");
        found.sort_by_key(|found| (found.span.start, found.span.end));
        let source = Arc::new(NamedSource::new(file_name, without_secrets(text)));
        let problems = found
            .into_iter()
            .map(|found| {
                let (line, column) = place(text, found.span.start);
                let message = match &found.first {
                    None => found.message,
                    Some(first) => {
                        let (line, column) = place(text, first.start);
                        format!("{} (first at {line}:{column})", found.message)
                    }
                };
                Problem {
                    file: file_name.to_owned(),
                    line,
                    column,
                    message,
                    advice: found.advice,
                    span: Some(found.span),
                    first: found.first,
                    source: Arc::clone(&source),
                }
            })
            .collect();
        Self { problems }
    }
}

impl fmt::Display for PlantErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&plain(problem))?;
        }
        Ok(())
    }
}

impl std::error::Error for PlantErrors {}

impl Diagnostic for PlantErrors {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.problems.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}

/// A problem before its place has been counted out.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
    pub(crate) advice: String,
    /// Where the thing that this one clashes with stands.
    pub(crate) first: Option<Range<usize>>,
    /// Whether it rests on something not being there: worth nothing while parts of the file could not be read.
    pub(crate) rests_on_absence: bool,
}

fn plain(problem: &Problem) -> String {
    let Problem { file, line, column, message, advice, .. } = problem;
    let place = if *line == 0 { file.clone() } else { format!("{file}:{line}:{column}") };
    let text = if advice.is_empty() { message.clone() } else { format!("{message}; {advice}") };
    // One problem is one line, whatever the file's own text holds.
    format!("{place}: {}", text.replace('\n', " "))
}

/// Line and column (in characters) of a byte offset, from 1.
fn place(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
