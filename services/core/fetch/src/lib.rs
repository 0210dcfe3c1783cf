//! What a request over HTTP may be and where it may go: addresses, the list of what is allowed, the bytes of HTTP/1.1, what
//! a secret is bound to, and taking a secret out of an answer.
//!
//! Pure: no socket, no clock, no name is looked up here. The one who connects is the `vault`.

mod address;
mod allow;
mod body;
mod head;
mod origin;
mod proxy;
mod redact;
mod roots;
mod secret;

pub use address::{AddressRefused, check_address};
pub use allow::{AllowList, AllowListError, Method, NotAllowed};
pub use body::{Body, BodyError, Progress};
pub use head::{Ask, Head, HeadError, write_head};
pub use origin::{Origin, Scheme, Url, UrlError};
pub use proxy::{Proxy, ProxyError};
pub use redact::Redactor;
pub use roots::{Root, RootError};
pub use secret::{Binding, BindingError, HeaderForm, SecretError, SecretValue};
