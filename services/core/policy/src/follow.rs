//! Which policy is in force, and which may follow it. The number only grows: what was loaded once is written in the
//! evidence log, and nothing older decides for everybody again, whatever files a disk has.

use crate::bundle::Epoch;

/// What decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The policy of the image.
    Image,
    /// The newest that was loaded.
    Loaded,
    /// The newest that was loaded is not there. The image's decides, for people only.
    Behind,
}

/// What decides on a machine whose image has the policy `image`, whose log says that `newest` was loaded last, and whose
/// disk has `kept` under that name.
pub fn choose(image: Option<&Epoch>, newest: Option<&Epoch>, kept: Option<&Epoch>) -> Choice {
    let Some(newest) = newest else { return Choice::Image };
    if image.is_some_and(|image| image.number() > newest.number()) {
        return Choice::Image;
    }
    if kept == Some(newest) { Choice::Loaded } else { Choice::Behind }
}

/// A policy may not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotNewer {
    /// It decides already.
    #[error("PolicyInForce: policy {0} decides already")]
    InForce(String),
    /// One of the same or a higher number was there.
    #[error(
        "PolicyOlder: this policy is {offered}, and {known} is known to this machine; the number must be higher, so that \
         nobody brings back what was taken away"
    )]
    Older {
        /// Its epoch.
        offered: String,
        /// The one that it would have to follow.
        known: String,
    },
}

/// Whether `offered` may follow: its number is higher than the image's and than every loaded one's, or it is the newest
/// itself, which the machine has lost.
pub fn may_follow(
    image: Option<&Epoch>,
    newest: Option<&Epoch>,
    in_force: &str,
    offered: &Epoch,
) -> Result<(), NotNewer> {
    if offered.as_str() == in_force {
        return Err(NotNewer::InForce(in_force.to_owned()));
    }
    if newest == Some(offered) && image.is_none_or(|image| image.number() <= offered.number()) {
        return Ok(());
    }
    let known = image.into_iter().chain(newest).max_by_key(|epoch| epoch.number());
    match known {
        Some(known) if known.number() >= offered.number() => {
            Err(NotNewer::Older { offered: offered.as_str().to_owned(), known: known.as_str().to_owned() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(number: u64, digit: char) -> Epoch {
        Epoch::parse(&format!("{number}-{}", digit.to_string().repeat(12))).expect("an epoch")
    }

    #[test]
    fn the_newest_that_was_loaded_decides_or_people_only() {
        let (image, two, other) = (epoch(1, 'a'), epoch(2, 'b'), epoch(2, 'c'));
        assert_eq!(choose(Some(&image), None, Some(&two)), Choice::Image, "nobody loaded what lies there");
        assert_eq!(choose(Some(&image), Some(&two), Some(&two)), Choice::Loaded);
        assert_eq!(choose(Some(&image), Some(&two), Some(&other)), Choice::Behind);
        assert_eq!(choose(Some(&image), Some(&two), None), Choice::Behind);
        assert_eq!(choose(None, Some(&two), Some(&two)), Choice::Loaded);
        assert_eq!(choose(Some(&epoch(3, 'a')), Some(&two), Some(&two)), Choice::Image, "a newer image");
        assert_eq!(choose(Some(&epoch(2, 'a')), Some(&two), Some(&two)), Choice::Loaded);
    }

    #[test]
    fn the_number_only_grows() {
        let (image, two, three) = (epoch(1, 'a'), epoch(2, 'b'), epoch(3, 'c'));
        let may = |newest: Option<&Epoch>, in_force: &Epoch, offered: &Epoch| {
            may_follow(Some(&image), newest, in_force.as_str(), offered)
        };
        assert_eq!(may(None, &image, &two), Ok(()));
        assert!(matches!(may(None, &image, &image), Err(NotNewer::InForce(_))));
        assert!(matches!(may(None, &image, &epoch(1, 'f')), Err(NotNewer::Older { .. })));
        assert!(matches!(may(None, &image, &epoch(0, 'f')), Err(NotNewer::Older { .. })));
        assert_eq!(may(Some(&two), &two, &three), Ok(()));
        assert!(matches!(may(Some(&three), &three, &two), Err(NotNewer::Older { .. })));
        assert!(matches!(may(Some(&three), &three, &epoch(3, 'd')), Err(NotNewer::Older { .. })));
        assert_eq!(may(Some(&three), &image, &three), Ok(()), "the one that was lost comes back");
        assert!(matches!(may(Some(&three), &image, &two), Err(NotNewer::Older { .. })), "an older one does not");
    }

    #[test]
    fn an_epoch_has_one_text() {
        assert_eq!(epoch(12, 'a').number(), 12);
        for text in
            ["", "1", "1-", "-aaaaaaaaaaaa", "01-aaaaaaaaaaaa", "1-AAAAAAAAAAAA", "+1-aaaaaaaaaaaa", "1-aaaaaaaaaaaaa"]
        {
            assert_eq!(Epoch::parse(text), None, "{text}");
        }
    }
}
