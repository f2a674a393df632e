//! Texts that are worked on while an instance is made.

/// A template: text in which `{{ … }}` and `{% … %}` are minijinja.
pub type Template = String;
/// An expression: what could stand inside `{{ … }}`.
pub type Expression = String;
