cluster {
  virtual_addresses = ["203.0.113.10/24@eth0"]
}
