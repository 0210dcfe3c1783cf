//! The form of a definition as JSON Schema, for editors and for programs that write definitions.

use serde_json::{Value, json};

use crate::load::{
    EDGES_LIMIT, REPAIRS_LIMIT, RETRY_LIMIT, ROUNDS_LIMIT, SECONDS_LIMIT, STEPS_LIMIT, TEXT_LIMIT, WAIT_LIMIT,
};

/// The schema. What it cannot say (circles, steps that are not there) the reader checks.
pub fn schema() -> Value {
    let label = json!({"type": "string", "pattern": "^[a-z][a-z0-9-]{0,39}$"});
    let text = |says: &str| json!({"type": "string", "minLength": 1, "maxLength": TEXT_LIMIT, "description": says});
    let whole = |least: u64, most: u64, says: &str| json!({"type": "integer", "minimum": least, "maximum": most, "description": says});
    let action = json!({"type": "string", "description": "a type of the catalogue; 'aios action types' shows all"});
    let parameters = json!({"type": "object", "description": "the type's parameters; 'aios action schema TYPE'"});
    let constraints = json!({
        "type": "object",
        "properties": {
            "deadline_ms": whole(1, u32::MAX.into(), "from the request to the end of its program"),
            "time_ms": whole(1, u32::MAX.into(), "that its program may run"),
            "cpu_ms": whole(1, u32::MAX.into(), "of processor time"),
            "memory": whole(1, u32::MAX.into(), "in bytes"),
            "output": whole(1, u32::MAX.into(), "bytes that its program may print"),
            "written": whole(1, u32::MAX.into(), "bytes that a file it writes may have"),
        },
        "additionalProperties": false,
    });
    let condition = json!({
        "type": "object",
        "properties": {
            "step": label,
            "is": {"enum": ["succeeded", "failed", "skipped"]},
            "output": {"type": "string", "pattern": "^/", "description": "JSON pointer into what the action observed"},
            "equals": {"type": ["string", "integer", "boolean"]},
        },
        "required": ["step"],
        "oneOf": [{"required": ["is"]}, {"required": ["output", "equals"]}],
        "additionalProperties": false,
    });
    let repair = json!({
        "type": "object",
        "properties": {
            "rounds": whole(1, ROUNDS_LIMIT.into(), "how often at most"),
            "actions": {
                "type": "array",
                "minItems": 1,
                "maxItems": REPAIRS_LIMIT,
                "items": {
                    "type": "object",
                    "properties": {
                        "action": action,
                        "parameters": parameters,
                        "reason": text("why, for the record"),
                        "constraints": constraints,
                    },
                    "required": ["action"],
                    "additionalProperties": false,
                },
            },
        },
        "required": ["rounds", "actions"],
        "additionalProperties": false,
    });
    let steps = |says: &str| json!({"type": "array", "maxItems": EDGES_LIMIT, "items": label, "description": says});
    let step = json!({
        "type": "object",
        "properties": {
            "id": label,
            "action": action,
            "parameters": parameters,
            "reason": text("why, for the record and for who approves"),
            "constraints": constraints,
            "ask": text("a question that a person answers with yes or no"),
            "after": steps("steps that must have succeeded"),
            "when": {"type": "array", "maxItems": EDGES_LIMIT, "items": condition},
            "timeout-s": whole(1, SECONDS_LIMIT, "for everything that is tried"),
            "retry": {
                "type": "object",
                "properties": {
                    "times": whole(1, RETRY_LIMIT.into(), "further tries"),
                    "wait-s": whole(0, WAIT_LIMIT, "before each"),
                },
                "required": ["times"],
                "additionalProperties": false,
            },
            "repair": repair,
        },
        "required": ["id"],
        "oneOf": [{"required": ["action"]}, {"required": ["ask"]}],
        "additionalProperties": false,
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An AIOS workflow",
        "type": "object",
        "properties": {
            "name": label,
            "description": text("what it is for"),
            "budget": {
                "type": "object",
                "properties": {
                    "actions": whole(1, u32::MAX.into(), "actions submitted, retries and repairs included"),
                    "seconds": whole(1, SECONDS_LIMIT, "time in which somebody runs it"),
                },
                "additionalProperties": false,
            },
            "steps": {"type": "array", "minItems": 1, "maxItems": STEPS_LIMIT, "items": step},
        },
        "required": ["name", "steps"],
        "additionalProperties": false,
    })
}
