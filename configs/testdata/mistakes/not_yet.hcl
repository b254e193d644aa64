cluster {
  join = ["10.0.0.2:7000"]
  virtual_addresses = ["203.0.113.10/24@eth0"]
}
