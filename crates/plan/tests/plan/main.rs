//! Planning seen from outside: properties over every component, and whole joins against hosts
//! that only pretend.

mod arguments;
mod ending;
mod etcd_data;
mod external;
mod fake;
mod feeding;
mod joining;
mod keys;
mod membership;
mod needs;
mod placing;
mod removal;
mod rolling;
mod steadiness;
