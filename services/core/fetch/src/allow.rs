//! The list of whom may be asked with which method: `GET,HEAD https://api.example.org; POST http://10.0.2.2:8080`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::origin::{Origin, UrlError};

/// More than this is no list that a person keeps an eye on.
const CLAUSES: usize = 64;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// The content.
    Get,
    /// What the server says of the content.
    Head,
    /// Something is handed over.
    Post,
}

impl Method {
    /// Its word in HTTP.
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
        }
    }
}

impl FromStr for Method {
    type Err = AllowListError;

    fn from_str(text: &str) -> Result<Self, AllowListError> {
        match text {
            "GET" => Ok(Self::Get),
            "HEAD" => Ok(Self::Head),
            "POST" => Ok(Self::Post),
            _ => Err(AllowListError::Method),
        }
    }
}

/// Whom may be asked. The empty list allows nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList {
    clauses: Vec<Clause>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Clause {
    methods: Vec<Method>,
    origin: Origin,
}

/// The text is no such list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AllowListError {
    /// A clause without a method and an origin.
    #[error("each clause is methods and an origin, such as GET,HEAD https://api.example.org")]
    Clause,
    /// A method that is not known, or twice.
    #[error("the methods are GET, HEAD and POST, each once, with commas between")]
    Method,
    /// Not an origin.
    #[error("an origin is wrong")]
    Origin(#[source] UrlError),
    /// Another way to write the same.
    #[error("write it with one space, '; ' between clauses, hosts in lower-case letters and without default ports")]
    Form,
    /// Too long.
    #[error("the list has at most {CLAUSES} clauses")]
    Long,
}

/// The list does not have it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "fetch.allow does not have {} {origin}; a person allows it with: aios settings set fetch.allow '{}{} {origin}'",
    method.word(),
    before,
    method.word()
)]
pub struct NotAllowed {
    method: Method,
    origin: Origin,
    before: String,
}

impl AllowList {
    /// Whether `origin` may be asked with `method`.
    pub fn check(&self, method: Method, origin: &Origin) -> Result<(), NotAllowed> {
        let found = self.clauses.iter().any(|clause| clause.origin == *origin && clause.methods.contains(&method));
        if found {
            return Ok(());
        }
        let before = if self.clauses.is_empty() { String::new() } else { format!("{self}; ") };
        Err(NotAllowed { method, origin: origin.clone(), before })
    }
}

impl fmt::Display for AllowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, clause) in self.clauses.iter().enumerate() {
            let methods: Vec<&str> = clause.methods.iter().map(|method| method.word()).collect();
            let between = if place == 0 { "" } else { "; " };
            write!(f, "{between}{} {}", methods.join(","), clause.origin)?;
        }
        Ok(())
    }
}

impl FromStr for AllowList {
    type Err = AllowListError;

    fn from_str(text: &str) -> Result<Self, AllowListError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let clauses = text.split(';').map(|clause| clause.trim().parse()).collect::<Result<Vec<Clause>, _>>()?;
        if clauses.len() > CLAUSES {
            return Err(AllowListError::Long);
        }
        let list = Self { clauses };
        if list.to_string() == text { Ok(list) } else { Err(AllowListError::Form) }
    }
}

impl FromStr for Clause {
    type Err = AllowListError;

    fn from_str(text: &str) -> Result<Self, AllowListError> {
        let (methods, origin) = text.split_once(' ').ok_or(AllowListError::Clause)?;
        let methods = methods.split(',').map(str::parse).collect::<Result<Vec<Method>, _>>()?;
        if methods.iter().enumerate().any(|(place, method)| methods[..place].contains(method)) {
            return Err(AllowListError::Method);
        }
        Ok(Self { methods, origin: origin.trim().parse().map_err(AllowListError::Origin)? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_stands_there_is_allowed() {
        let list: AllowList = "GET,HEAD https://a.example; POST http://10.0.2.2:8080".parse().expect("a list");
        let check = |method, origin: &str| list.check(method, &origin.parse().expect("an origin")).is_ok();
        assert!(check(Method::Get, "https://a.example") && check(Method::Head, "https://A.example:443"));
        assert!(check(Method::Post, "http://10.0.2.2:8080"));
        assert!(!check(Method::Post, "https://a.example") && !check(Method::Get, "http://10.0.2.2:8080"));
        assert!(!check(Method::Get, "http://a.example") && !check(Method::Get, "https://a.example:444"));
        assert!(!check(Method::Get, "https://b.a.example") && !check(Method::Get, "https://a.example.evil"));
    }

    #[test]
    fn a_refusal_says_what_to_set_and_that_value_allows_it() {
        for before in ["", "GET https://a.example"] {
            let list: AllowList = before.parse().expect("a list");
            let origin: Origin = "http://10.0.2.2:8080".parse().expect("an origin");
            let text = list.check(Method::Post, &origin).expect_err("refused").to_string();
            let value = text.split('\'').nth(1).expect("a value in quotes");
            let wider: AllowList = value.parse().expect("what it says can be set");
            assert_eq!(wider.check(Method::Post, &origin), Ok(()));
            assert!(value.starts_with(before));
        }
    }

    #[test]
    fn another_form_of_the_same_is_refused() {
        for (text, expected) in [
            ("https://a.example", AllowListError::Clause),
            ("PUT https://a.example", AllowListError::Method),
            ("GET,GET https://a.example", AllowListError::Method),
            ("GET a.example", AllowListError::Origin(UrlError::Scheme)),
            ("GET https://*.example", AllowListError::Origin(UrlError::Host)),
            ("GET https://a.example/x", AllowListError::Origin(UrlError::NotAlone)),
            ("GET  https://a.example", AllowListError::Form),
            ("GET https://A.example", AllowListError::Form),
            ("GET https://a.example:443", AllowListError::Form),
            ("GET https://a.example;GET https://b.example", AllowListError::Form),
            ("GET https://a.example; ", AllowListError::Clause),
        ] {
            assert_eq!(text.parse::<AllowList>(), Err(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_comes_back_as_itself(text in "((GET|HEAD|POST),? ?){0,3}https?://[a-z.]{0,9}(; )?|.{0,60}") {
            if let Ok(list) = text.parse::<AllowList>() {
                prop_assert_eq!(list.to_string(), text);
            }
        }
    }
}
