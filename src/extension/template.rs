//! Templates and expressions: minijinja made strict, and bounded in time and output.

use std::io;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Template, UndefinedBehavior, Value, syntax::SyntaxConfig};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::budget::Budget;
use super::{growth, product, quantity, versions};
use crate::api::values::Duration;

/// What one template may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Instructions.
    pub fuel: u64,
    /// Bytes of output.
    pub output: usize,
}

/// Limits of a template file.
pub const FILE: Limits = Limits { fuel: 500_000, output: 1024 * 1024 };
/// Limits of a text or expression in the manifest.
pub const TEXT: Limits = Limits { fuel: 500_000, output: 64 * 1024 };

/// Bytes of what an expression gives, as JSON: answers of servers among them.
const MOST_VALUE: usize = 16 * 1024 * 1024;

/// Why a template failed: the template's name, a line in it, and what went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}:{line}: {reason}")]
pub struct TemplateError {
    pub name: String,
    pub line: usize,
    pub reason: String,
}

impl TemplateError {
    /// What is said once nothing is left of what all templates may use together.
    pub fn spent(budget: &Budget) -> Self {
        let (name, reason) = budget.greediest();
        Self { name, line: 1, reason }
    }
}

/// What the names of templates that stand in the manifest start with.
pub(super) const FIELD: &str = "field:";

/// The templates of one package, compiled once.
pub struct Engine {
    environment: Environment<'static>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.environment.templates().map(|(name, _)| name)).finish()
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine {
    pub fn new() -> Self {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FILE.fuel));
        environment.set_recursion_limit(32);
        environment.set_debug(true);
        if let Ok(syntax) =
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()
        {
            environment.set_syntax(syntax);
        }
        // what carries a value from one round of a loop to the next could double it each time
        environment.remove_global("namespace");
        environment.remove_global("debug");
        // these make much out of little
        environment.remove_filter("format");
        environment.remove_filter("pprint");
        environment.add_filter("times", product::times);
        environment.add_filter("join", join);
        environment.add_filter("replace", replace);
        environment.add_filter("indent", indent);
        environment.add_filter("to_yaml", to_yaml);
        environment.add_filter("to_json", to_json);
        environment.add_filter("quote", |value: &Value| to_json(&Value::from(value.to_string())));
        environment.add_filter("bytes", |value: &Value| {
            quantity::bytes(&value.to_string()).ok_or_else(|| wrong(format!("{value} is no number of bytes")))
        });
        environment.add_filter("seconds", |value: String| milliseconds(&value).map(|millis| millis / 1000));
        environment.add_filter("milliseconds", |value: String| milliseconds(&value));
        environment.add_filter("at_least", |version: String, bound: String| {
            versions::order(&version, &bound) != std::cmp::Ordering::Less
        });
        environment.add_filter("sha256", |value: String| hex::encode(Sha256::digest(value.as_bytes())));
        environment.add_filter("base64", |value: String| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(value)
        });
        Self { environment }
    }

    /// Compiles a template file.
    pub fn add(&mut self, name: &str, source: &str) -> Result<(), TemplateError> {
        bounded(name, source)?;
        self.environment
            .add_template_owned(name.to_owned(), product::template(source).into_owned())
            .map_err(|error| explain(&error, name))
    }

    /// Compiles a text of the manifest once for all that is rendered of it.
    pub fn know(&mut self, source: &str) {
        if is_plain(source) || bounded(source, source).is_err() {
            return;
        }
        // what is wrong with it is told, with its place, where it is rendered
        let _ = self.environment.add_template_owned(known_as(source), product::template(source).into_owned());
    }

    /// Renders a template file.
    pub fn file(&self, name: &str, context: &Value, budget: &Budget) -> Result<String, TemplateError> {
        let template = self.environment.get_template(name).map_err(|error| explain(&error, name))?;
        run(&template, name, context, FILE, budget)
    }

    /// Renders a template file that may well fail, within these steps: of a failure it is not known what it took.
    pub fn attempt(&self, name: &str, context: &Value, fuel: u64, budget: &Budget) -> Option<String> {
        let limits = Limits { fuel: fuel.min(FILE.fuel), ..FILE };
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(limits.fuel));
        let template = environment.get_template(name).ok()?;
        run(&template, name, context, limits, budget).ok()
    }

    /// Renders a text of the manifest. Most have nothing in them to render.
    pub fn text(&self, name: &str, source: &str, context: &Value, budget: &Budget) -> Result<String, TemplateError> {
        if is_plain(source) {
            return Ok(source.to_owned());
        }
        if let Ok(template) = self.environment.get_template(&known_as(source)) {
            return run(&template, name, context, TEXT, budget);
        }
        bounded(name, source)?;
        let source = product::template(source);
        let template =
            self.environment.template_from_named_str(name, &source).map_err(|error| explain(&error, name))?;
        run(&template, name, context, TEXT, budget)
    }

    /// The value of an expression.
    pub fn expression(&self, name: &str, source: &str, context: &Value) -> Result<Json, TemplateError> {
        bounded_expression(name, source)?;
        let compiled = product::expression(source);
        let expression = self.environment.compile_expression(&compiled).map_err(|error| explain(&error, name))?;
        let value = expression.eval(context.clone()).map_err(|error| explain(&error, name))?;
        if value.is_undefined() {
            let reason = format!("\"{source}\" is not defined");
            return Err(TemplateError { name: name.to_owned(), line: 1, reason });
        }
        let failed = |reason| TemplateError { name: name.to_owned(), line: 1, reason };
        let mut written = Capped { bytes: Vec::new(), limit: MOST_VALUE };
        let too_large = |_| failed(format!("\"{source}\" gives more than {MOST_VALUE} bytes"));
        serde_json::to_writer(&mut written, &value).map_err(too_large)?;
        serde_json::from_slice(&written.bytes).map_err(|error| failed(error.to_string()))
    }

    /// Whether an expression holds; one that is left out does.
    pub fn holds(&self, name: &str, source: Option<&str>, context: &Value) -> Result<bool, TemplateError> {
        source.map_or(Ok(true), |source| {
            self.expression(name, source, context).map(|value| Value::from(Serde(&value)).is_true())
        })
    }

    /// Variables a file reads and does not set, with their attributes.
    pub fn file_reads(&self, name: &str) -> Vec<String> {
        let Ok(template) = self.environment.get_template(name) else { return Vec::new() };
        sorted(template.undeclared_variables(true))
    }

    /// Variables a text reads, or why it does not compile.
    pub fn text_reads(&self, name: &str, source: &str) -> Result<Vec<String>, TemplateError> {
        bounded(name, source)?;
        let source = product::template(source);
        let template =
            self.environment.template_from_named_str(name, &source).map_err(|error| explain(&error, name))?;
        Ok(sorted(template.undeclared_variables(true)))
    }

    /// Variables an expression reads, or why it does not compile.
    pub fn expression_reads(&self, name: &str, source: &str) -> Result<Vec<String>, TemplateError> {
        bounded_expression(name, source)?;
        let compiled = product::expression(source);
        let expression = self.environment.compile_expression(&compiled).map_err(|error| explain(&error, name))?;
        Ok(sorted(expression.undeclared_variables(true)))
    }

    /// Functions every template may call.
    pub fn knows_function(&self, name: &str) -> bool {
        self.environment.globals().any(|(known, _)| known == name)
    }
}

/// Nothing in it is to be rendered.
fn is_plain(source: &str) -> bool {
    !source.contains("{{") && !source.contains("{%") && !source.contains("{#")
}

/// What a text of the manifest is called among templates: no file is called so, and errors name its field in place of it.
fn known_as(source: &str) -> String {
    format!("<{source}")
}

/// A context made of plain data.
pub fn context(data: &Json) -> Value {
    Value::from(Serde(data))
}

fn run(
    template: &Template<'_, '_>,
    name: &str,
    context: &Value,
    limits: Limits,
    budget: &Budget,
) -> Result<String, TemplateError> {
    let mut output = Capped { bytes: Vec::new(), limit: limits.output };
    let fuel = match template.render_captured_to(context.clone(), &mut output) {
        Ok(done) => done.state().fuel_levels().map_or(0, |(used, _)| used),
        Err(error) => {
            // nobody knows where it was by then
            budget.took(name, limits.fuel, output.bytes.len());
            return Err(explain(&error, name));
        }
    };
    budget.took(name, fuel, output.bytes.len());
    Ok(String::from_utf8_lossy(&output.bytes).into_owned())
}

fn sorted(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort();
    names
}

/// Says what went wrong in words of the package's author.
fn explain(error: &Error, name: &str) -> TemplateError {
    let mut innermost = error;
    while let Some(source) = std::error::Error::source(innermost).and_then(|source| source.downcast_ref::<Error>()) {
        innermost = source;
    }
    let what = || {
        let source = innermost.template_source()?;
        source.get(innermost.range()?).map(|text| text.chars().take(60).collect::<String>())
    };
    let detail = || innermost.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let reason = match innermost.kind() {
        ErrorKind::OutOfFuel => "takes too long: is there a loop without an end, or a list without a bound?".to_owned(),
        ErrorKind::WriteFailure => format!("its output is larger than {} bytes", FILE.output),
        ErrorKind::UndefinedError => match what() {
            Some(text) => format!("\"{text}\" is not defined"),
            None => format!("a variable is not defined{}", detail()),
        },
        ErrorKind::TemplateNotFound | ErrorKind::BadInclude => {
            innermost.detail().unwrap_or("there is no such template").to_owned()
        }
        ErrorKind::SyntaxError => format!("syntax error{}", detail()),
        kind => format!("{kind}{}", detail()),
    };
    let written_in = innermost.name().filter(|known| !known.starts_with('<')).unwrap_or(name);
    TemplateError { name: written_in.to_owned(), line: innermost.line().unwrap_or(1), reason }
}

fn wrong(reason: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

fn bounded(name: &str, source: &str) -> Result<(), TemplateError> {
    growth::check(source).map_err(|(line, reason)| TemplateError { name: name.to_owned(), line, reason })
}

fn bounded_expression(name: &str, source: &str) -> Result<(), TemplateError> {
    growth::check_expression(source).map_err(|reason| TemplateError { name: name.to_owned(), line: 1, reason })
}

/// A text that a filter may give back.
fn capped(length: usize) -> Result<(), Error> {
    if length > FILE.output {
        return Err(wrong(format!("makes a text of more than {} bytes", FILE.output)));
    }
    Ok(())
}

fn join(list: &Value, joiner: Option<String>) -> Result<String, Error> {
    let joiner = joiner.unwrap_or_default();
    let mut out = String::new();
    for (place, item) in list.try_iter()?.enumerate() {
        if place > 0 {
            out.push_str(&joiner);
        }
        out.push_str(&item.to_string());
        capped(out.len())?;
    }
    Ok(out)
}

fn replace(text: &str, from: &str, to: &str) -> Result<String, Error> {
    let times = text.matches(from).count();
    capped(text.len().saturating_add(times.saturating_mul(to.len())))?;
    Ok(text.replace(from, to))
}

/// Indents every line but the first, which stands where the template puts it, and empty ones.
fn indent(text: &str, width: Option<usize>) -> Result<String, Error> {
    let width = width.unwrap_or(4);
    capped(text.lines().count().saturating_mul(width).saturating_add(text.len()))?;
    let margin = " ".repeat(width);
    let lines = text
        .split('\n')
        .enumerate()
        .map(|(place, line)| if place == 0 || line.is_empty() { line.to_owned() } else { format!("{margin}{line}") });
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn milliseconds(text: &str) -> Result<i64, Error> {
    Duration::parse(text)
        .and_then(|duration| i64::try_from(duration.0.as_millis()).ok())
        .ok_or_else(|| wrong(format!("\"{text}\" is no duration")))
}

fn to_json(value: &Value) -> Result<String, Error> {
    let mut written = Capped { bytes: Vec::new(), limit: FILE.output };
    serde_json::to_writer(&mut written, value).map_err(|error| wrong(error.to_string()))?;
    Ok(String::from_utf8_lossy(&written.bytes).into_owned())
}

fn to_yaml(value: &Value) -> Result<String, Error> {
    let mut written = Capped { bytes: Vec::new(), limit: FILE.output };
    serde_saphyr::to_io_writer(&mut written, value).map_err(|error| wrong(error.to_string()))?;
    Ok(String::from_utf8_lossy(&written.bytes).trim_end().to_owned())
}

/// Takes so many bytes and no more.
struct Capped {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(io::Error::other("too much output"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(source: &str) -> Result<String, String> {
        let known = context(&json!({ "a": 1, "map": { "k": true } }));
        Engine::new().text("t", source, &known, &Budget::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_defined_is_an_error_with_its_line() {
        assert_eq!(text("x\n{{ b }}"), Err("t:2: \"b\" is not defined".into()));
        assert_eq!(text("{{ map.other }}"), Err("t:1: \"map.other\" is not defined".into()));
    }

    #[test]
    fn a_text_that_was_compiled_before_says_the_same_and_errs_in_the_same_words() {
        let texts = ["{{ a }}-{{ map.k }}", "x\n{{ b }}", "{{ a | times(", "{% for a in range(100000) %}{% endfor %}"];
        let known = context(&json!({ "a": 1, "map": { "k": true } }));
        let mut engine = Engine::new();
        let said = |engine: &Engine| texts.map(|source| engine.text("field:x", source, &known, &Budget::default()));
        let before = said(&engine);
        for source in &texts {
            engine.know(source);
        }
        assert_eq!(said(&engine), before);
        assert_eq!(before[0].as_deref(), Ok("1-True"));
    }

    #[test]
    fn loops_and_output_are_bounded() {
        let endless = text("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}");
        assert_eq!(
            endless,
            Err("t:1: takes too long: is there a loop without an end, or a list without a bound?".into())
        );
        let huge = text("{% for a in range(90000) %}xxxxxxxxxxxxxxxxxxxx{% endfor %}").expect_err("too large");
        assert!(huge.starts_with("t:1: its output is larger than"), "{huge}");
        assert!(text("{{ 'x' * 99999999 }}").is_err());
        assert!(text("{{ [a] * 100000 | join('xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx') }}").is_err());
        assert!(text("{{ 'a\nb' | indent(99999999) }}").is_err());
        assert!(text("{{ ('a' * 9999) | replace('a', 'b' * 9999) }}").is_err());
    }

    #[test]
    fn values_are_written_as_the_reader_needs_them() {
        assert_eq!(
            text("{{ map | to_json }} {{ '1.5Gi' | bytes }} {{ '1m30s' | seconds }}").as_deref(),
            Ok("{\"k\":true} 1610612736 90")
        );
        assert_eq!(text("{{ map | to_yaml }}").as_deref(), Ok("k: true"));
        assert_eq!(text("{{ 'a\"b' | quote }}").as_deref(), Ok("\"a\\\"b\""));
    }

    #[test]
    fn nothing_outside_the_package_can_be_included() {
        let error = text("{% include '/etc/passwd' %}").expect_err("not there");
        assert_eq!(error, "t:1: tried to include non-existing template '/etc/passwd'");
    }
}
