//! Where S3 and OSS keep the same things differently: tags of objects, and what is too small for a part.

use s3s::crypto::{Checksum as _, Md5};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    S3,
    Oss,
}

impl Dialect {
    /// All parts but the last have as many bytes at least.
    pub fn part_bytes_min(self) -> u64 {
        match self {
            Self::S3 => 5 << 20,
            Self::Oss => 100 << 10,
        }
    }

    /// Of one body, without quotes.
    pub fn tag(self, md5: [u8; 16]) -> String {
        match self {
            Self::S3 => hex::encode(md5),
            Self::Oss => hex::encode_upper(md5),
        }
    }

    /// Of an object that came in parts: S3 hashes their tags as bytes, OSS as they are written.
    pub fn tag_of_parts(self, tags: &[[u8; 16]]) -> String {
        let joined = match self {
            Self::S3 => tags.concat(),
            Self::Oss => tags.iter().flat_map(|tag| self.tag(*tag).into_bytes()).collect(),
        };
        format!("{}-{}", self.tag(Md5::checksum(&joined)), tags.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `md5sum` and `tr` make them.
    #[test]
    fn tags_of_parts_are_those_of_their_vendors() {
        let tags = [Md5::checksum(b"first"), Md5::checksum(b"second")];
        assert_eq!(Dialect::Oss.tag(tags[0]), "8B04D5E3775D298E78455EFC5CA404D5");
        assert_eq!(Dialect::S3.tag_of_parts(&tags), "018d78427d06dd29caa19b06085b7e7e-2");
        assert_eq!(Dialect::Oss.tag_of_parts(&tags), "1993888A5261CCF492DC8CDC3287099F-2");
    }
}
