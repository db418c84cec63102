import { describe, expect, it } from 'vitest'
import { networkOf } from '../../src/service/account/failed-attempts.ts'

// Q43
describe('one that fails is counted as', () => {
  it.each([
    ['an address of IPv4', '192.0.2.7', '192.0.2.7'],
    ['the same written as one of IPv6', '::ffff:192.0.2.7', '192.0.2.7'],
    ['the same in hexadecimal', '::FFFF:c000:207', '192.0.2.7'],
    ['the same without short forms', '0:0:0:0:0:ffff:192.0.2.7', '192.0.2.7'],
    ['the deprecated form of the same', '::192.0.2.7', '192.0.2.7'],
    ['the first half of an address of IPv6', '2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['the same of a neighbour in its network', '2001:DB8:1:2:ffff::1', '2001:db8:1:2::/64'],
    ['another network', '2001:db8:1:3::1', '2001:db8:1:3::/64'],
    ['zeros that were left out', '2001:db8::1', '2001:db8:0:0::/64'],
    ['zeros at the end', '2001:db8:1:2::', '2001:db8:1:2::/64'],
    ['zeros at the beginning', '::1', '0:0:0:0::/64'],
    ['one with a zone', 'fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['one of IPv4 with a port', '192.0.2.7:50123', '192.0.2.7'],
    ['one of IPv6 with a port', '[2001:db8:1:2::1]:50123', '2001:db8:1:2::/64'],
    ['one of IPv6 in brackets', '[2001:db8:1:2::1]', '2001:db8:1:2::/64'],
    ['what a proxy made up', 'unknown', 'unknown'],
  ])('%s', (_what, address, network) => {
    expect(networkOf(address)).toBe(network)
  })
})
