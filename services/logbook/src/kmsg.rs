//! The form of the kernel's messages in `/dev/kmsg`: one record a read, `PRIORITY,NUMBER,MICROSECONDS,FLAGS;TEXT`.

use aios_wire::logs::Priority;

/// One message of the kernel, or of a program that wrote into its buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Counts the kernel's messages from 0; a jump is a loss.
    pub(crate) number: u64,
    pub(crate) at_ms: u64,
    pub(crate) priority: Priority,
    pub(crate) text: String,
}

/// Reads a record; none: it has another form.
pub(crate) fn parse(record: &[u8]) -> Option<Message> {
    let record = String::from_utf8_lossy(record);
    let (head, rest) = record.split_once(';')?;
    let mut fields = head.split(',');
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (facility_and_priority, number, microseconds) = (number()?, number()?, number()?);
    let priority = Priority::from_number((facility_and_priority & 7) as u32)?;
    // Behind the text's line there may be fields for programs.
    let text = rest.lines().next().unwrap_or_default();
    let text = text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
    Some(Message { number, at_ms: microseconds / 1000, priority, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_and_its_fields_for_programs_are_left_out() {
        let record =
            b"3,812,4250001,-;usb 1-1: device descriptor read/64, error -71\n SUBSYSTEM=usb\n DEVICE=+usb:1-1\n";
        let expected = Message {
            number: 812,
            at_ms: 4250,
            priority: Priority::Err,
            text: "usb 1-1: device descriptor read/64, error -71".into(),
        };
        assert_eq!(parse(record), Some(expected));
        // A program's words, with a facility and one more field in the head.
        let message = parse(b"12,5,99,-,caller=T1;a;b\x1b[31m\n").expect("a message");
        assert_eq!((message.priority, message.text.as_str()), (Priority::Warning, "a;b\u{fffd}[31m"));
        for wrong in [&b""[..], b"no head", b"x,1,2,-;text", b"6,1;text", b"6,1,-2,-;text"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(record in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = parse(&record);
        }

        #[test]
        fn what_the_kernel_writes_is_read(number: u64, us: u64, priority in 0u64..192, text in "[ -~]{0,80}") {
            let message = parse(format!("{priority},{number},{us},-;{text}\n").as_bytes()).expect("a message");
            proptest::prop_assert_eq!((message.number, message.at_ms, message.text), (number, us / 1000, text));
        }
    }
}
