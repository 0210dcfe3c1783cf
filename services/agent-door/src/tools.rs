//! The catalogue as tools, a tool call as a request, an action as an answer. Pure translation at the one border that is
//! not ours.

use std::sync::LazyLock;

use aios_action::{ActionType, ActionView, CATALOGUE, Request, State};
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Tool};
use serde_json::{Value, json};

/// Two arguments of every tool that are about the request and not about the action.
const REASON: &str = "reason";
const KEY: &str = "idempotency_key";

/// Every action type as a tool. Each answer shares what is made once.
pub(crate) fn all() -> Vec<Tool> {
    static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| CATALOGUE.iter().map(tool).collect());
    TOOLS.clone()
}

fn tool(entry: &'static ActionType) -> Tool {
    let mut schema = entry.json_schema();
    schema["properties"][REASON] = json!({
        "type": "string",
        "description": "why you ask; shown to the person who approves, as your words",
    });
    schema["properties"][KEY] = json!({
        "type": "string",
        "description": "the same key means the same action: use it to ask again how an action stands",
    });
    let Value::Object(schema) = schema else { unreachable!("a type's schema is an object") };
    let description =
        format!("{}. Afterwards: {}. Risk: {}.", entry.summary, entry.post_condition, entry.risk().word());
    Tool::new(entry.name, description, schema)
}

/// The request that a tool call means; the error is for the agent. Whether it is an action at all is the runtime's to say,
/// which records what is none.
pub(crate) fn request(name: &str, mut arguments: JsonObject) -> Result<Request, String> {
    let mut text = |name: &str| match arguments.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("'{name}' must be text")),
    };
    let reason = text(REASON)?.unwrap_or_default();
    let idempotency_key = text(KEY)?;
    Ok(Request { reason, idempotency_key, ..Request::new(name, arguments) })
}

/// What the agent is told about its action.
pub(crate) fn answer(view: &ActionView) -> CallToolResult {
    let text = match &view.state {
        State::Succeeded => "done and measured".to_owned(),
        State::Denied { reason, text } => format!("denied ({reason}): {text}"),
        State::Waiting { .. } => {
            "a person has to approve this first; ask again with the same idempotency_key".to_owned()
        }
        State::Failed { text } => format!("failed: {text}"),
        State::RolledBack { text } => format!("failed, and the state from before is back: {text}"),
        other => format!("the action is {}", other.word()),
    };
    let mut result = match &view.state {
        State::Denied { .. } | State::Failed { .. } | State::RolledBack { .. } => {
            CallToolResult::error(vec![ContentBlock::text(text)])
        }
        _ => CallToolResult::success(vec![ContentBlock::text(text)]),
    };
    result.structured_content = Some(json!({
        "action": view.id,
        "state": view.state.word(),
        "observed": view.observed,
        "evidence": view.evidence,
    }));
    result
}

#[cfg(test)]
mod tests {
    use aios_action::Envelope;
    use aios_ids::ActionId;

    use super::*;

    #[test]
    fn there_is_a_tool_for_each_type_and_no_other() {
        let names: Vec<_> = all().into_iter().map(|tool| tool.name.into_owned()).collect();
        let types: Vec<_> = CATALOGUE.iter().map(|entry| entry.name).collect();
        assert_eq!(names, types);
    }

    #[test]
    fn a_call_is_a_request_that_the_runtime_checks() {
        let arguments = |value: Value| value.as_object().cloned().expect("an object");
        let good = request("object.put", arguments(json!({"name": "a", "content": "b", "reason": "c"}))).expect("good");
        assert_eq!((good.reason.as_str(), good.parameters.len()), ("c", 2));
        assert!(request("node.reboot", arguments(json!({"reason": 1}))).expect_err("no text").contains("'reason'"));
        // A name that is given along is a parameter like any other, and no type has it.
        let another = request("node.reboot", arguments(json!({"subject": "operator:live"}))).expect("a request");
        assert!(another.parameters.contains_key("subject") && another.check().is_err());
    }

    #[test]
    fn only_what_did_not_happen_is_an_error() {
        let asked = request("node.reboot", JsonObject::new()).expect("good");
        let envelope = Envelope::new(ActionId::new(0, [0; 10]), "agent:example".into(), asked);
        let view = |state| ActionView { state, ..ActionView::proposed(&envelope) };
        let denied = answer(&view(State::Denied { reason: "NoMatchingPermit".into(), text: "no".into() }));
        assert_eq!(denied.is_error, Some(true));
        assert_eq!(answer(&view(State::Succeeded)).is_error, Some(false));
    }
}
