//! Tools that a request offers, and which of them its answer has to call.
//!
//! `tool_choice` `required` and a function's name make the answer tool calls; with `auto` the answer is text, as
//! from a model that sees no need for a tool.

use serde_json::Value;

use crate::server::api_error::ApiError;

/// A function that may be called.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// The JSON schema of its arguments; null when it takes none.
    pub parameters: Value,
}

/// The calls that an answer has to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// One or more of these.
    pub tools: Vec<Tool>,
    /// Whether it may be more than one.
    pub several: bool,
}

/// Reads `tools`, `tool_choice` and `parallel_tool_calls`; `None` when the answer is text.
///
/// # Errors
/// When they cannot be read or do not fit each other.
pub fn read(
    tools: Option<&[Value]>,
    choice: Option<&Value>,
    parallel: Option<bool>,
) -> Result<Option<Wanted>, ApiError> {
    let tools = tools
        .unwrap_or_default()
        .iter()
        .map(tool)
        .collect::<Result<Vec<_>, _>>()?;
    let refuse = |message: &str| Err(ApiError::field("tool_choice", message));
    let named = match choice {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(word)) => match word.as_str() {
            "none" | "auto" => return Ok(None),
            "required" => None,
            _ => {
                return refuse("tool_choice must be none, auto, required or name a function");
            }
        },
        Some(object) => match object["function"]["name"].as_str() {
            Some(name) => Some(name),
            None => return refuse("tool_choice must be none, auto, required or name a function"),
        },
    };
    if tools.is_empty() {
        return refuse("tool_choice asks for a call, but there are no tools");
    }
    let Some(name) = named else {
        let several = parallel != Some(false);
        return Ok(Some(Wanted { tools, several }));
    };
    match tools.into_iter().find(|tool| tool.name == name) {
        Some(tool) => Ok(Some(Wanted {
            tools: vec![tool],
            several: false,
        })),
        None => refuse("tool_choice names a function that is not among the tools"),
    }
}

fn tool(written: &Value) -> Result<Tool, ApiError> {
    let function = &written["function"];
    match function["name"].as_str() {
        Some(name) if !name.is_empty() => Ok(Tool {
            name: name.to_owned(),
            parameters: function["parameters"].clone(),
        }),
        _ => Err(ApiError::field(
            "tools",
            "each of the tools must be {\"type\": \"function\", \"function\": {\"name\": ...}}",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_choice_says_which_tools_have_to_be_called() {
        let tools = ["a", "b"].map(|name| json!({"type": "function", "function": {"name": name}}));
        let wanted = |choice: Value| read(Some(&tools), Some(&choice), None);
        assert_eq!(wanted(json!("auto")).unwrap(), None);
        assert_eq!(wanted(json!(null)).unwrap(), None);
        let all = wanted(json!("required")).unwrap().unwrap();
        assert_eq!((all.tools.len(), all.several), (2, true));
        let named = json!({"type": "function", "function": {"name": "b"}});
        let one = wanted(named).unwrap().unwrap();
        assert_eq!((one.tools[0].name.as_str(), one.several), ("b", false));
        for wrong in [json!("must"), json!({}), json!({"function": {"name": "c"}})] {
            assert!(wanted(wrong).is_err());
        }
        assert!(read(None, Some(&json!("required")), None).is_err());
        assert!(read(Some(&[json!({"type": "function"})]), None, None).is_err());
    }
}
