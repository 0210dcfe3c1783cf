//! The first files of a new machine: who can log in, and its settings.

use std::collections::BTreeMap;

use aios_image::data::SeedFile;
use serde_json::json;

use crate::answers::Answers;

/// The system's users by name, from `rootfs/users.toml`.
#[derive(Debug, Clone)]
pub struct Users(BTreeMap<String, u32>);

/// The table of users cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// Not this TOML.
    #[error("the table of the system's users cannot be read")]
    Form(#[from] toml::de::Error),
    /// A user is missing.
    #[error("the table of the system's users has no '{0}'")]
    Missing(&'static str),
}

impl Users {
    /// Reads the table.
    pub fn parse(text: &str) -> Result<Self, UsersError> {
        Ok(Self(toml::from_str(text)?))
    }

    fn id(&self, name: &'static str) -> Result<u32, UsersError> {
        self.0.get(name).copied().ok_or(UsersError::Missing(name))
    }
}

/// What the services find on the data partition at the first start.
pub fn files(answers: &Answers, users: &Users) -> Result<Vec<SeedFile>, UsersError> {
    let settings = json!({"generation": 1, "values": answers.settings.values()}).to_string().into_bytes();
    let file = |path: &str, owner, bytes| SeedFile { path: path.to_owned(), owner, bytes };
    let (policy, keeper) = (users.id("policy-kernel")?, users.id("settings")?);
    Ok(vec![
        file("system/policy/operators.json", policy, answers.operators.to_json().into_bytes()),
        file("system/settings/settings.json", keeper, settings.clone()),
        file("system/settings/generations/1.json", keeper, settings),
    ])
}
