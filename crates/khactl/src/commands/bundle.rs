//! `khactl bundle`: makes bundles and puts them into this host's store. It needs no agent.

mod bar;

use khactl_bundle::{Access, BundleError, Imported, Order, Patience, Source, Store, create};

use crate::cli::{BundleCommand, BundleCreateArgs, BundleImportArgs};
use crate::failure::{Failure, chain};
use crate::output::{Output, table};
use bar::Bar;

pub(super) fn run(command: &BundleCommand, output: Output) -> Result<(), Failure> {
    match command {
        BundleCommand::Create(args) => make(args, output),
        BundleCommand::Import(args) => import(args, output),
        BundleCommand::List { store } => {
            let found = Store::new(store)
                .list()
                .map_err(failed("list the bundles"))?;
            output.show(&found, || shown(&found))
        }
    }
}

fn make(args: &BundleCreateArgs, output: Output) -> Result<(), Failure> {
    let source = Source::of(args.from.as_deref());
    let order = Order {
        kubernetes: args.kubernetes.clone(),
        etcd: args.etcd.clone(),
        arch: args.arch.clone(),
        access: Access::to(&source).map_err(failed("make a bundle"))?,
        source,
        out: args.out.clone(),
        patience: Patience::default(),
    };
    let mut bar = Bar::new(output);
    let made = create(&order, &mut |progress| bar.show(progress));
    drop(bar);
    let made = made.map_err(failed("make a bundle"))?;
    output.show(&made, || {
        format!(
            "{} is made ({} MiB), digest {}\n\
             On one host: khactl bundle import {} --digest {}",
            made.path.display(),
            made.size >> 20,
            made.digest,
            made.path.display(),
            made.digest
        )
    })
}

fn import(args: &BundleImportArgs, output: Output) -> Result<(), Failure> {
    let imported = Store::new(&args.store)
        .import(&args.file, args.name.as_deref(), args.digest.as_deref())
        .map_err(failed("import a bundle"))?;
    output.show(&imported, || {
        let how = if imported.already {
            "was there already"
        } else {
            "is in its place"
        };
        format!(
            "Kubernetes {} and etcd {}: {how}, digest {}\nIn the spec: bundle: {}",
            imported.kubernetes,
            imported.etcd,
            imported.digest,
            imported.path.display()
        )
    })
}

fn shown(found: &[Imported]) -> String {
    let rows = found.iter().map(|bundle| {
        vec![
            bundle.path.display().to_string(),
            bundle.kubernetes.clone(),
            bundle.etcd.clone(),
            bundle.arch.clone(),
            bundle.digest.clone(),
        ]
    });
    table(&["BUNDLE", "KUBERNETES", "ETCD", "ARCH", "DIGEST"], rows)
}

fn failed(doing: &'static str) -> impl FnOnce(BundleError) -> Failure {
    move |error| {
        Failure::new(
            error.code(),
            doing,
            chain(&error),
            "nothing was put into a bundle's place: mend what is named, then run the command again",
        )
    }
}
