"""cellrim over HTTP: a REST API and a page for the browser, for a lab's own machine."""
