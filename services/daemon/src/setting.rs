//! Asking the settings service for one value.

use crate::proxy::Settings1Proxy;

/// A setting is not known.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// The service does not answer, or refuses.
    #[error("cannot ask for the setting {key}")]
    Ask {
        /// Which.
        key: &'static str,
        /// Why.
        #[source]
        source: zbus::Error,
    },
    /// The value is no text.
    #[error("the setting {key} has another form than a text")]
    Form {
        /// Which.
        key: &'static str,
        /// What it is instead.
        #[source]
        source: serde_json::Error,
    },
}

/// The value of a setting that is a text, as it is now.
pub async fn setting(key: &'static str) -> Result<String, SettingError> {
    let asked = async { Settings1Proxy::new(&crate::connect("settings").await?).await?.get(key).await };
    let answer = asked.await.map_err(|source| SettingError::Ask { key, source })?;
    serde_json::from_str(&answer).map_err(|source| SettingError::Form { key, source })
}
