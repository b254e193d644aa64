-- a.hcl --
dialplan "acme" {}
-- a.hcl --
dialplan "acme" {}
