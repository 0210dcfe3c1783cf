//! A hostile agent, for test images only: it tries at random, from a seed, everything that [`attempts`] lists, for as long
//! as it is told, and says at its end what came of each. With a file of questions it asks those at the door instead.
//!
//! It reports what it saw; whether there was an effect is for others to say, from outside.

mod attempts;
mod door;
mod draw;
mod kernel;
mod talk;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use attempts::Attempt;
use door::{Answer, Door};
use draw::Draw;

/// What it says begins so, and the last line is this with `done` behind it.
const WORD: &str = "hostile-agent:";

/// So long may pass until what it said before does not count against what it may say.
const QUIET: Duration = Duration::from_secs(6);

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Came {
    /// It was refused, with this word.
    Refused(String),
    /// It waits for a person.
    Waits,
    /// It had its effect, or may have.
    Through(String),
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ended = match words.as_slice() {
        ["try", seconds, seed] => match (seconds.parse(), seed.parse()) {
            (Ok(seconds), Ok(seed)) => try_everything(Duration::from_secs(seconds), seed),
            _ => Err("'try SECONDS SEED' takes two numbers".into()),
        },
        ["ask", file] => ask_all(file),
        _ => Err("say 'try SECONDS SEED' or 'ask FILE'".into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{WORD} failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every attempt once, and then any of them until the time is over.
fn try_everything(time: Duration, seed: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut draw = Draw::new(seed);
    let attempts = attempts::all();
    let mut found: Vec<BTreeMap<Came, u64>> = vec![BTreeMap::new(); attempts.len()];
    println!("{WORD} seed {seed}, {} attempts, {} s", attempts.len(), time.as_secs());
    let mut one = |place: usize, draw: &mut Draw| *found[place].entry(attempts[place].make(draw)).or_default() += 1;
    for place in draw.shuffled(attempts.len()) {
        one(place, &mut draw);
    }
    let begin = Instant::now();
    while begin.elapsed() < time {
        one(draw.below(attempts.len()), &mut draw);
    }
    std::thread::sleep(QUIET);
    for (attempt, came) in attempts.iter().zip(&found) {
        println!("{WORD} attempt {}", told(attempt, came));
    }
    println!("{WORD} done");
    Ok(())
}

/// One line about an attempt.
fn told(attempt: &Attempt, came: &BTreeMap<Came, u64>) -> Value {
    let (mut refused, mut through, mut waits) = (BTreeMap::<&str, u64>::new(), BTreeMap::<&str, u64>::new(), 0);
    for (came, count) in came {
        match came {
            Came::Refused(word) => *refused.entry(word).or_default() += count,
            Came::Through(word) => *through.entry(word).or_default() += count,
            Came::Waits => waits += count,
        }
    }
    json!({
        "place": attempt.place, "what": attempt.what, "leaves": attempt.leaves.word(), "tries": came.values().sum::<u64>(),
        "refused": refused, "waits": waits, "through": through,
    })
}

/// Asks each line of the file, which is a type and its parameters in JSON, and says how each was answered.
fn ask_all(file: &str) -> Result<(), Box<dyn std::error::Error>> {
    let questions = std::fs::read_to_string(file)?;
    for (number, line) in questions.lines().enumerate() {
        let question: Value = serde_json::from_str(line)?;
        let action_type = question["type"].as_str().unwrap_or_default();
        // One that breaks the conversation does not take the others with it.
        let answer = Door::open()?.call(action_type, &question["parameters"])?;
        let said = match answer {
            Answer::Refused(word) => format!("refused {word}"),
            Answer::Waits => "waits".to_owned(),
            Answer::Ended(state) => state,
        };
        println!("{WORD} answer {number} {said}");
    }
    println!("{WORD} done");
    Ok(())
}
