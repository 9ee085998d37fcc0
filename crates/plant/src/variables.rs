//! `${NAME}` in paths, so that one description serves PCs that keep their data in different folders.

/// `text` with each `${NAME}` replaced by the environment variable of that name.
///
/// # Errors
/// What is wrong and what to do: a variable that is not set, or a `${` that is not closed.
pub(crate) fn expand(text: &str) -> Result<String, (String, String)> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else {
            return Err((format!("{text:?} opens a variable that it does not close"), "write ${NAME}".to_owned()));
        };
        let name = &rest[start + 2..start + length];
        let value = std::env::var(name).map_err(|_| {
            let message = format!("the environment variable {name:?} in {text:?} is not set");
            (message, format!("set {name}, or write the path itself"))
        })?;
        expanded.push_str(&rest[..start]);
        expanded.push_str(&value);
        rest = &rest[start + length + 1..];
    }
    expanded.push_str(rest);
    Ok(expanded)
}
