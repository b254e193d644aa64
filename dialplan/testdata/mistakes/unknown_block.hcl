dialplan "acme" {}
usr "alice" {}
frobnicate "x" {}
