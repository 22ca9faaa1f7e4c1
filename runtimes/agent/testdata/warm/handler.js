module.exports = (params, context) => {
  console.log('called');
  return { double: params.n * 2 };
};
