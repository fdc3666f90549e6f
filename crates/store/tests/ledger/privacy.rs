//! PRV-1: what two shops owe each other, amounts and cards are readable by the parties alone.

use hutong_core::view::Reader as _;
use hutong_store::disk::Disk as _;

use crate::{street::Street, till::card};

/// Everything that a shop's disk and views hold.
pub(crate) fn bytes_of(street: &Street, shop: usize) -> Vec<u8> {
    let shop = &street.shops[shop];
    let mut all = Vec::new();
    for name in shop.disk.list().unwrap() {
        all.extend(shop.disk.contents(&name).unwrap());
    }
    let take = &mut |key: &[u8], value: &[u8]| {
        all.extend_from_slice(key);
        all.extend_from_slice(value);
        true
    };
    shop.ledger.views().scan(&[], None, take).unwrap();
    all
}

#[test]
fn a_third_shop_holds_neither_amount_nor_card_nor_token_of_a_sealed_record() {
    let mut street = Street::new(80, 4);
    let terms = street.terms(&[1], 2);
    street.publish(2, terms).unwrap();
    street.meet();
    let customer = card(0xc7);
    let amount = hutong_record::Money::new(hutong_record::Currency::CNY, 0x1234_5678_9abc).unwrap();
    let token = street.sell(1, amount, Some(customer)).remove(0);
    let command = street.redemption(&token.qr_text(), amount, Some(customer));
    let request = command.request().unwrap().id.clone();
    street.run(2, &command).unwrap();
    street.touch(1, 2, customer).unwrap();
    street.meet();
    let (mut signed, mut folded) = (Vec::new(), Vec::new());
    prost::encoding::encode_varint(0x1234_5678_9abc, &mut signed);
    prost::encoding::encode_varint(0x1234_5678_9abc << 1, &mut folded); // views zigzag
    // What, its bytes, and whether a party's views keep it: the search must be able to find something.
    let secrets: [(&str, &[u8], bool); 7] = [
        ("card", customer.as_bytes(), true),
        ("token", token.bytes(), true),
        ("secret", &token.body().secret, true),
        ("folded amount", &folded, true),
        ("request", request.as_bytes(), true),
        ("signed amount", &signed, false),
        ("channel", "海报".as_bytes(), false),
    ];
    let (party, third) = (bytes_of(&street, 2), bytes_of(&street, 3));
    let holds = |bytes: &[u8], secret: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    for (what, secret, kept) in secrets {
        assert_eq!(holds(&party, secret), kept, "the redeemer's views and the {what}");
        assert!(!holds(&third, secret), "a third shop holds the {what}");
    }
    let disk: Vec<u8> = street.shops[2]
        .disk
        .list()
        .unwrap()
        .iter()
        .flat_map(|name| street.shops[2].disk.contents(name))
        .flatten()
        .collect();
    assert!(!holds(&disk, customer.as_bytes()), "the journal is sealed on the parties' disks, too");
    let grown = street.shops[3].ledger.reader().head_of(street.id(2)).unwrap().sequence;
    assert!(grown > 0, "the third shop does hold the records");
}
