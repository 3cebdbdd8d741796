//! The files of the page, in the binary. Those of others and their licence: `assets/NOTICE`.

/// A file that anybody on this host may have: nothing in it is secret.
pub(super) struct Asset {
    /// Its name under `/assets/`.
    pub(super) name: &'static str,
    /// Its media type.
    pub(super) media_type: &'static str,
    /// Its content.
    pub(super) bytes: &'static [u8],
}

/// Every file there is.
pub(super) const ASSETS: [Asset; 5] = [
    Asset {
        name: "icon.svg",
        media_type: "image/svg+xml",
        bytes: include_bytes!("assets/icon.svg"),
    },
    Asset {
        name: "page.css",
        media_type: "text/css; charset=utf-8",
        bytes: include_bytes!("assets/page.css"),
    },
    Asset {
        name: "page.js",
        media_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("assets/page.js"),
    },
    Asset {
        name: "htmx.min.js",
        media_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("assets/htmx.min.js"),
    },
    Asset {
        name: "sse.min.js",
        media_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("assets/sse.min.js"),
    },
];

/// The file of a name.
pub(super) fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

#[cfg(test)]
mod tests {
    use hedgerow_crypto::Primitives;
    use protocol::crypto::Crypto as _;

    use super::*;

    #[test]
    fn what_others_made_is_what_they_ship() {
        let notice = include_str!("assets/NOTICE");
        for (name, digest) in [
            (
                "htmx.min.js",
                "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
            ),
            (
                "sse.min.js",
                "98a46496de0c3605fbffdce9167ba427bdd9553184f83f149c261891a92c0136",
            ),
        ] {
            let found = hex::encode(Primitives.sha256(&[find(name).unwrap().bytes]));
            assert_eq!(found, digest, "{name}");
            assert!(notice.contains(&found) && notice.contains(name), "{name}");
        }
    }
}
