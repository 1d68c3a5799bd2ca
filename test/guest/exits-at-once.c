// SPDX-License-Identifier: Apache-2.0
/* An init that ends at once, for which the kernel panics. */
int main(void)
{
	return 3;
}
