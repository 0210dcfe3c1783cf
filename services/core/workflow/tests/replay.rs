//! A run decided again gives the same bytes, and whatever was altered shows at its step.

use std::collections::BTreeMap;

use aios_ids::RunId;
use aios_workflow::{Chain, Definition, Ending, Event, Next, Progress, Row, replay};
use serde_json::{Value, json};

/// The first line of the trace.
const FIRST: &str = concat!(
    r#"{"decided":{"goal":"52ad32f203bf0237953de189dc62926ad9a334ba7ab37bbf21b291f1ed7d0bfa","number":0,"#,
    r#""purpose":{"try":0},"request":"f60ee5669d5db1b641f12668ac9402ee1122333df41281de7954ad078d6eb343","submit":"a","#,
    r#""until_ms":3600000,"wait_ms":0},"then":{"action":null,"end":{"end":"failed","text":"not yet"},"event":"ended","#,
    r#""number":0,"spent_ms":10,"step":"a"}}"#
);

fn steps() -> Vec<Value> {
    let put = |id: &str, after: &[&str]| {
        json!({"id": id, "action": "object.put", "parameters": {"name": id, "content": "x"}, "after": after,
            "retry": {"times": 1}})
    };
    vec![put("a", &[]), put("b", &["a"]), put("c", &["b"]), put("d", &["c"])]
}

fn definition(steps: &[Value]) -> Definition {
    Definition::parse(&json!({"name": "x", "steps": steps}).to_string()).unwrap_or_else(|error| panic!("{error}"))
}

fn run() -> RunId {
    RunId::new(7, [3; 10])
}

/// A run in which everything succeeds at the second try.
fn journal(definition: &Definition) -> Vec<Row> {
    let (mut progress, mut chain, mut rows) = (Progress::begin(definition, run()), Chain::begin(&run()), Vec::new());
    while let Next::Submit(asked) = progress.next() {
        let end = if asked.number == 0 { Ending::Failed { text: "not yet".into() } } else { Ending::Succeeded };
        let spent_ms = progress.spent_ms() + 10;
        let event = Event::Ended {
            step: asked.step,
            number: asked.number,
            action: None,
            end,
            output: BTreeMap::new(),
            spent_ms,
        };
        chain = chain.with_event(&progress.next(), &event);
        progress.apply(&event).expect("it answers");
        rows.push(Row { event, chain });
    }
    rows
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    let definition = definition(&steps());
    let rows = journal(&definition);
    let (one, two) =
        (replay(&definition, &run(), &rows).expect("same"), replay(&definition, &run(), &rows).expect("same"));
    assert_eq!(one, two);
    assert_eq!(one.text.lines().count(), rows.len() + 1);
    // The bytes are a promise to other programs, so a change of them is a change of the format.
    assert_eq!(one.text.lines().next().expect("a line"), FIRST);
    let read_back: Vec<Row> = serde_json::from_str(&serde_json::to_string(&rows).expect("rows")).expect("rows");
    assert_eq!(replay(&definition, &run(), &read_back).expect("same").chain, one.chain);
}

#[test]
fn an_altered_definition_diverges_at_the_altered_step() {
    let rows = journal(&definition(&steps()));
    let altered = |alter: fn(&mut Vec<Value>)| {
        let mut steps = steps();
        alter(&mut steps);
        replay(&definition(&steps), &run(), &rows).expect_err("it is another one").step
    };
    assert_eq!(altered(|steps| steps[2]["parameters"]["content"] = json!("y")), "c");
    assert_eq!(altered(|steps| steps[1]["timeout-s"] = json!(5)), "b");
    assert_eq!(altered(|steps| steps[3]["retry"] = json!({"times": 2, "wait-s": 9})), "d");
    assert_eq!(altered(|steps| drop(steps[1].as_object_mut().expect("a step").remove("retry"))), "b");
    assert_eq!(altered(|steps| steps[3]["id"] = json!("e")), "e");
    assert_eq!(altered(|steps| steps.insert(0, json!({"id": "z", "ask": "?"}))), "z");
}

#[test]
fn an_altered_input_diverges_at_its_step() {
    let definition = definition(&steps());
    for place in 0..8 {
        let alterations: [fn(&mut Event); 3] = [
            |event| {
                if let Event::Ended { spent_ms, .. } = event {
                    *spent_ms += 1;
                }
            },
            |event| {
                if let Event::Ended { end, .. } = event {
                    *end = Ending::RolledBack { text: "not yet".into() };
                }
            },
            |event| {
                if let Event::Ended { output, .. } = event {
                    output.insert("/x".into(), json!(1));
                }
            },
        ];
        for alter in alterations {
            let mut rows = journal(&definition);
            alter(&mut rows[place].event);
            let found = replay(&definition, &run(), &rows).expect_err("it was altered");
            assert_eq!((found.line, found.step.as_str()), (place + 1, ["a", "b", "c", "d"][place / 2]));
        }
        // One that is missing, and two that changed places.
        let mut rows = journal(&definition);
        rows.remove(place);
        assert_eq!(replay(&definition, &run(), &rows).err().map(|found| found.line), (place < 7).then_some(place + 1));
        if place < 7 {
            let mut rows = journal(&definition);
            rows.swap(place, place + 1);
            assert_eq!(replay(&definition, &run(), &rows).expect_err("it was altered").line, place + 1);
        }
    }
    let other = RunId::new(8, [3; 10]);
    assert_eq!(replay(&definition, &other, &journal(&definition)).expect_err("another run").line, 1);
}

#[test]
fn contents_do_not_stand_in_a_trace() {
    let mut steps = steps();
    steps[0]["parameters"]["content"] = json!("s3cret");
    let definition = definition(&steps);
    let trace = replay(&definition, &run(), &journal(&definition)).expect("same");
    assert!(!trace.text.contains("s3cret"));
}
