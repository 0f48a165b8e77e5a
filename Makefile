.PHONY: build
build:
	cargo build --release --package wharf --package wharf-runtime
