//! Settlement: from the lines of a pair's book to statements that both sign, to netting and to payment.
//!
//! | file | what it is |
//! | --- | --- |
//! | `book` | one entry for each debt that a record booked, the same on both sides |
//! | `response` | receipts accepted or disputed |
//! | `statement` | what is owed at the end of a period, and whether both say the same |
//! | `compare` | which records make two statements differ |
//! | `payment` | payments that both sides sign |
//! | `clearing` | disclosed balances, netting runs, consents |
//! | `credit` | credit lines, on which runs can draw |
//! | `exposure` | how much an ally may come to owe |

pub mod book;
pub mod clearing;
pub mod compare;
pub mod credit;
pub mod exposure;
pub mod payment;
pub mod response;
pub mod statement;
