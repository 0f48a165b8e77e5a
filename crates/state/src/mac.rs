//! Hardware addresses of links.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sys::{Error, ErrorKind, Result};

/// The hardware address of one link: neither of a group nor zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// One that is locally administered, of five bytes of the caller's.
    pub fn local(own: [u8; 5]) -> Self {
        let mut bytes = [0x02; 6];
        bytes[1..].copy_from_slice(&own);
        Self(bytes)
    }

    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for MacAddress {
    type Err = Error;

    /// Six bytes in hexadecimal, as `02:42:0a:57:00:02` or with dashes.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            let shown: String = text.chars().take(40).collect();
            Error::new(ErrorKind::InvalidInput, format!("{shown:?} {why}"))
        };
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            // from_str_radix takes a sign, too.
            *byte = part
                .filter(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| wrong("is no hardware address: write it as 02:42:0a:57:00:02"))?;
        }
        if parts.next().is_some() {
            return Err(wrong("is too long for a hardware address"));
        }
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(wrong("cannot be the hardware address of one link"));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for MacAddress {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::MacAddress;

    #[test]
    fn it_is_read_as_it_is_written() {
        let mac: MacAddress = "92-D0-c6-0a-29-33".parse().unwrap();
        assert_eq!(mac.to_string(), "92:d0:c6:0a:29:33");
        assert_eq!(mac.to_string().parse::<MacAddress>().unwrap(), mac);
    }

    #[test]
    fn what_no_link_can_have_is_refused() {
        for bad in [
            "",
            "02:42:0a:57:00",
            "02:42:0a:57:00:02:03",
            "2:42:0a:57:00:02",
            "02:42:0a:57:00:+2",
            "zz:42:0a:57:00:02",
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
        ] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
    }
}
